"""One conversation out of many model calls, each of which repeats the history so far.

A trace holds one or more threads (an agent, its sub-agents, unrelated prompts). The input of a model call is
laid over the thread that it continues, and only what the thread has not seen is new:

1. the input begins with the thread's history (the normal case, fast where the text was repeated exactly),
2. or with its end (agents that drop old messages),
3. or shares messages with it (histories that were edited or summarised): messages are then counted, so that
   one that comes twice in the input and once in the thread is new once;
4. else it starts a thread.

The model's own answers are recognised by position where they come back in another rendition.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tracetaxa.dialects.reading import ToolCall

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tracetaxa.dialects.reading import Message, SpanReading, ToolResult
    from tracetaxa.records import Role, Span

_RECENT_THREADS = 4
"""How many threads are tried, beside one that starts with the same message: keeps the work linear."""
_WINDOW_STARTS = 8
"""How many places of a thread are tried as the start of a shortened history."""


@dataclass(slots=True, eq=False)
class Step:
    """One turn in the making. Steps of role `tool` have a call."""

    role: Role
    text: str
    span_id: str
    time_ns: int
    """0 for what was said before the trace began: the history that its first model call was given."""
    since_ns: int
    """Moment of the span that brought this step, mostly its start: never decreases from step to step."""
    call: ToolCall | None = None
    result: ToolResult | None = None
    delegated: bool = False
    """Said to an agent or tool that asked, not to the user."""


@dataclass(slots=True, eq=False)
class Thread:
    """Messages that follow each other."""

    system: tuple[str, ...]
    history: Sequence[Message] = ()
    answers: list[Message] = field(default_factory=list)
    """What the model said after `history`."""
    answered_ns: int = 0
    seen: Counter[object] = field(default_factory=Counter)
    waiting: deque[Step] = field(default_factory=deque)
    """Calls without a result, oldest first."""
    waiting_by_name: dict[str, deque[Step]] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return bool(self.answers) and bool(self.answers[-1].text) and not self.answers[-1].calls


class ConversationBuilder:
    """Takes model calls in time order; `steps` is the conversation so far."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._threads: deque[Thread] = deque(maxlen=_RECENT_THREADS)
        self._by_first: dict[object, Thread] = {}
        self._instructions: set[str] = set()
        self._calls: dict[str, list[Step]] = {}

    def add(
        self, span: Span, reading: SpanReading, *, delegated: bool, within: Thread | None = None
    ) -> Thread:
        """Take input and output in; returns the thread that they belong to.

        `delegated`: an agent wrote the input, so its user messages are not the user's. `within`: the thread
        of a reading without input, where the spans around it say so; else it is the last one.
        """
        self.instruct(span, reading)
        thread, news = self._place(span, reading, within)
        earlier = 0 if thread.seen else _said_earlier(news)
        for i, message in enumerate(news):
            self._take(message, thread, span, 0 if i < earlier else span.start_ns, delegated)
        self._answered(reading.output, thread, span, delegated)
        return thread

    def instruct(self, span: Span, reading: SpanReading) -> None:
        """Take in the instructions alone; each is told once."""
        for text in reading.system:
            if text not in self._instructions:
                self._instructions.add(text)
                self._step("system", text, span, span.start_ns)

    def answer(
        self, span: Span, reading: SpanReading, thread: Thread, *, delegated: bool, since_ns: int
    ) -> None:
        """Take in the output alone, at `since_ns`, when all inside the span was said.

        Agents may repeat the messages inside them before their answer; these are left out.
        """
        *before, last = reading.output
        if not last.text and last.key in thread.seen:
            return  # the calls with which a node ends are those of the model inside it
        output = (*_uncounted(before, thread.seen), last)
        thread.answers += output
        taken = len(self.steps)
        self._answered(output, thread, span, delegated)
        for step in self.steps[taken:]:
            step.since_ns = since_ns

    def _answered(self, output: Sequence[Message], thread: Thread, span: Span, delegated: bool) -> None:
        for message in output:
            self._take(message, thread, span, span.end_ns, delegated)
        if output:
            thread.answered_ns = span.end_ns

    # ------------------------------------------------------------------------------------- placing the input

    def _place(
        self, span: Span, reading: SpanReading, within: Thread | None
    ) -> tuple[Thread, Sequence[Message]]:
        """The thread that this call belongs to, and the messages of its input that are new there."""
        given = reading.input
        if not given:
            thread = within or (self._threads[0] if self._threads else self._start(reading))
            thread.answers += reading.output
            return thread, ()
        candidates = self._candidates(given)
        for align in (_whole, _window):
            for thread in candidates:
                overlap = align(given, thread)
                if overlap is None:
                    continue
                if overlap == len(given) and _asks_again(span, reading, thread):
                    return self._start(reading), given
                if overlap == len(given):  # a retry, or one of several calls with the same input
                    thread.answers += reading.output
                    return thread, ()
                news = _without_answers(given[overlap:], thread)
                return self._continue(thread, reading), news
        for thread in candidates:
            shared = sum(1 for message in given if message.key in thread.seen)
            if shared > 1 or (thread.history and given[0].key == thread.history[0].key):
                return self._continue(thread, reading), _uncounted(given, thread.seen)
        return self._start(reading), given

    def _candidates(self, given: Sequence[Message]) -> list[Thread]:
        same_start = self._by_first.get(given[0].key)
        others = [thread for thread in self._threads if thread is not same_start]
        return others if same_start is None else [same_start, *others]

    def _start(self, reading: SpanReading) -> Thread:
        thread = Thread(reading.system)
        self._threads.appendleft(thread)
        if reading.input:
            return self._continue(thread, reading)
        if reading.output:
            self._by_first[reading.output[0].key] = thread
        return thread

    def _continue(self, thread: Thread, reading: SpanReading) -> Thread:
        thread.history, thread.answers = reading.input, list(reading.output)
        self._by_first[reading.input[0].key] = thread
        if self._threads[0] is not thread:
            self._threads = deque([thread, *(t for t in self._threads if t is not thread)], _RECENT_THREADS)
        return thread

    # ------------------------------------------------------------------------------------ taking messages in

    def _take(self, message: Message, thread: Thread, span: Span, time_ns: int, delegated: bool) -> None:
        thread.seen[message.key] += 1
        for result in message.results:
            self._answer(result, thread, span, time_ns)
        if message.text and not (delegated and message.role == "user"):
            self._step(message.role, message.text, span, time_ns).delegated = delegated
        for call in message.calls:
            step = self._step("tool", "", span, time_ns, call)
            thread.waiting.append(step)
            thread.waiting_by_name.setdefault(call.name, deque()).append(step)
            if call.call_id:
                self._calls.setdefault(call.call_id, []).append(step)

    def _answer(self, result: ToolResult, thread: Thread, span: Span, time_ns: int) -> None:
        """Give a result to its call: by id, else to the oldest waiting call, of its name if it has one."""
        if result.call_id in self._calls:
            calls = self._calls[result.call_id]
            if calls[-1].result is None:  # ids may be reused from turn to turn; the newest call is meant
                calls[-1].result = result
            return
        waiting = thread.waiting_by_name.get(result.name, deque()) if result.name else thread.waiting
        while waiting and waiting[0].result is not None:
            waiting.popleft()
        if waiting and not (result.call_id and waiting[0].call and waiting[0].call.call_id):
            waiting.popleft().result = result
            return
        step = self._step("tool", "", span, time_ns, ToolCall(result.call_id, result.name, ""))
        step.result = result
        if result.call_id:
            self._calls[result.call_id] = [step]

    def _step(self, role: Role, text: str, span: Span, time_ns: int, call: ToolCall | None = None) -> Step:
        step = Step(role, text, span.span_id, time_ns, span.start_ns, call)
        self.steps.append(step)
        return step


def _whole(given: Sequence[Message], thread: Thread) -> int | None:
    """Length of the thread's history, if the input continues it or is a beginning of it."""
    history = thread.history
    if not history:
        return 0 if thread.answers and given[0].key == thread.answers[0].key else None
    common = min(len(history), len(given))
    if given[:common] == history[:common] or _same(given[:common], history[:common]):
        return common
    return None


def _window(given: Sequence[Message], thread: Thread) -> int | None:
    """Length of the part of the input that is the end of the thread's history."""
    first = given[0].key
    if first not in thread.seen:
        return None
    history = thread.history
    oldest = max(1, len(history) - len(given))
    starts = [i for i in range(oldest, len(history)) if history[i].key == first][:_WINDOW_STARTS]
    for start in starts:
        length = len(history) - start
        if _same(given[:length], history[start:]):
            return length
    if thread.answers and first == thread.answers[0].key:
        return 0
    return None


def _same(left: Sequence[Message], right: Sequence[Message]) -> bool:
    return all(a is b or a.key == b.key for a, b in zip(left, right, strict=True))


def _asks_again(span: Span, reading: SpanReading, thread: Thread) -> bool:
    """Whether the same short input is a new request, not a retry or a parallel call.

    It is when the thread had been answered in full before, by a model with the same instructions, and the
    input is no more than what a user says.
    """
    return (
        thread.finished
        and span.start_ns >= thread.answered_ns
        and reading.system == thread.system
        and all(message.role == "user" and not message.results for message in reading.input)
    )


def _without_answers(rest: Sequence[Message], thread: Thread) -> list[Message]:
    """What follows the known history, less the model's answers that come back in it.

    Up to as many leading assistant messages as there were answers are those answers, though instrumentations
    may trim, split or merge them; later ones are recognised by what they say.
    """
    answers = Counter(message.key for message in thread.answers)
    leading = next((i for i, message in enumerate(rest) if message.role != "assistant"), len(rest))
    block = rest[:leading]
    surplus = max(0, leading - len(thread.answers))
    unknown = [message for message in block if not answers[message.key]]
    news = unknown[len(unknown) - surplus :] if surplus < len(unknown) else unknown
    for message in block:
        answers[message.key] -= 1
    for message in rest[leading:]:
        if message.role == "assistant" and answers[message.key] > 0:
            answers[message.key] -= 1
        else:
            news.append(message)
    return news


def _said_earlier(history: Sequence[Message]) -> int:
    """How many messages at the start of a thread precede the trace: all but the user's last words."""
    return next((i for i in range(len(history), 0, -1) if history[i - 1].role != "user"), 0)


def _uncounted(given: Iterable[Message], seen: Counter[object]) -> list[Message]:
    """Messages of the input beyond the number of times that the thread has them."""
    counts: Counter[object] = Counter()
    news = []
    for message in given:
        counts[message.key] += 1
        if counts[message.key] > seen[message.key]:
            news.append(message)
    return news
