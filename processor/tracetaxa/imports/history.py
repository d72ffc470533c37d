"""What each model call of an imported chat is told that it was given.

The whole history so far, as instrumentations do, until that has cost `budget` characters; from then on only
what is new, since the cost of repeating grows with the square of the chat's length. Readers lay the input of
a call over the conversation so far, so a shortened input must not look like an earlier one sent again: where
it might, the history since the last shortening is repeated in full after all (dialects/conversation.py has
the rules that this relies on).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.values import load_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.dialects.reading import Message

HISTORY_CHARACTERS = 1 << 18
_MOST_CHARACTERS = 1 << 24
"""Beyond it a chat that only ever repeats itself loses repetitions rather than fill the disk."""


class History:
    """The messages of one chat, each encoded once. Ask for the inputs in order.

    `with_spans`: call ids of the results that tool spans tell.
    """

    def __init__(
        self, messages: Sequence[Message], with_spans: frozenset[str], *, system: bool, budget: int
    ) -> None:
        self._messages = messages
        self._with_spans = with_spans
        self._budget = budget
        self._encoded = [encode(message) for message in messages]
        self._start = self._after_answer = 0
        self._cost = 0
        self._asked: set[str] = set()
        # Where there are instructions, calls of the first thread have them and later ones don't.
        self._only_new = system or any(message.role == "system" for message in messages)
        """Whether words that were said before could be taken for those of an earlier call."""

    def input(self, before: int) -> str:
        """JSON list of messages for the call that message `before` answers; empty for none."""
        indices = list(range(self._start, before))
        if self._cost > self._budget:
            indices = self._shortened(before)
        new = before - self._after_answer
        self._cost += sum(len(self._encoded[i]) for i in indices[: max(0, len(indices) - new)])
        for message in self._messages[self._after_answer : before]:
            if message.role == "user":
                self._asked.add(message.text.strip())
        self._after_answer = before + 1
        return f"[{','.join([self._encoded[i] for i in indices])}]" if indices else ""

    def output(self, index: int, finish_reason: str) -> str:
        """JSON list of the one message that the model answered; empty when it said nothing."""
        message = self._messages[index]
        if not (message.text or message.calls):
            return ""
        return f'[{self._encoded[index][:-1]},"finish_reason":{_dumps(finish_reason)}}}]'

    def _shortened(self, before: int) -> list[int]:
        told = [i for i in range(self._after_answer, before) if not self._told_by_spans(self._messages[i])]
        if not told:
            return []
        if self._fresh(told) or self._cost > self._budget + _MOST_CHARACTERS:
            self._start = told[0]
            self._only_new |= not self._answered()
            return told
        return list(range(self._start, before))

    def _told_by_spans(self, message: Message) -> bool:
        return message.role == "tool" and all(
            result.call_id in self._with_spans for result in message.results
        )

    def _fresh(self, told: Sequence[int]) -> bool:
        """Whether a reader takes these for new: the user's words, not said before, or after an answer."""
        messages = [self._messages[i] for i in told]
        if any(message.role != "user" or message.results for message in messages):
            return False
        if all(message.text.strip() not in self._asked for message in messages):
            return True
        return len(messages) == 1 and self._answered() and not self._only_new

    def _answered(self) -> bool:
        """Whether the last thing that the model did was to answer."""
        last = self._messages[self._after_answer - 1] if self._after_answer else None
        return last is not None and last.role == "assistant" and bool(last.text) and not last.calls


def encode(message: Message) -> str:
    """In the JSON form of the GenAI conventions."""
    parts: list[dict[str, Any]] = [{"type": "text", "content": message.text}] if message.text else []
    for result in message.results:
        part = {"type": "tool_call_response", "id": result.call_id, "response": result.text}
        parts.insert(len(parts) - bool(message.text), part | ({"name": result.name} if result.name else {}))
    parts += [
        {"type": "tool_call", "id": call.call_id, "name": call.name, "arguments": _value(call.arguments)}
        for call in message.calls
    ]
    return _dumps({"role": message.role, "parts": parts})


def _value(arguments: str) -> Any:
    """Structured where it is structured: text that looks like a number stays text."""
    value = load_json(arguments) if arguments[:1] in ("{", "[") else None
    return arguments if value is None else value


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def encode_system(texts: Sequence[str]) -> str:
    return _dumps([{"type": "text", "content": text} for text in texts]) if texts else ""
