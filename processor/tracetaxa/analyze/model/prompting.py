"""Prompts: Markdown files beside this module, called by name, with a fingerprint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tracetaxa.records import Brief, Category

_PLACE = re.compile(r"\{\{([a-z_]+)\}\}")
_GAP = re.compile(r"\n{3,}")

Message = dict[str, str]
"""One turn of a chat, as the API has it: `role` and `content`."""

Ask = Callable[[Sequence[Message], dict[str, Any]], Awaitable[Any]]
"""(turns of a chat, JSON schema of the reply) → the reply's JSON."""


@dataclass(frozen=True, slots=True)
class Prompt:
    name: str
    template: str

    @property
    def fingerprint(self) -> str:
        """First 12 hex digits of the file's SHA-256: stored with whatever the prompt made."""
        return hashlib.sha256(self.template.encode()).hexdigest()[:12]

    def fill(self, **values: str) -> str:
        """The text with every `{{name}}` replaced, in one pass: a value is never read as a template.

        A place whose value is empty leaves no gap.
        """
        return _GAP.sub("\n\n", _PLACE.sub(lambda place: values[place[1]], self.template)).strip()


@cache
def prompt(name: str) -> Prompt:
    """`prompts/<name>.md`."""
    text = (files("tracetaxa.analyze") / "prompts" / f"{name}.md").read_text("utf-8")
    return Prompt(name, text)


def fingerprints(names: tuple[str, ...]) -> Mapping[str, str]:
    return {name: prompt(name).fingerprint for name in names}


def wording(brief: Brief) -> dict[str, str]:
    """How the prompts call what is counted."""
    recordings = {
        "trace": 'recordings ("traces") of an AI agent at work',
        "session": "recorded sessions of an AI agent at work (each all requests of one user's conversation)",
    }
    return {"unit": brief.unit, "units": f"{brief.unit}s", "recordings": recordings[brief.unit]}


def chat(instructions: str, data: str, turns: tuple[Message, ...] = ()) -> list[Message]:
    """Instructions, then example turns, then data: what stays the same comes first, since providers cache a
    prompt by its beginning."""
    return [{"role": "system", "content": instructions}, *turns, {"role": "user", "content": data}]


_KNOWN = (
    "Known from an earlier time. Where you find the same again, use its name to the letter; leave out what "
    "is not there any more:"
)


def taxonomy_prompt(name: str, brief: Brief, **values: object) -> str:
    """A prompt of pass 1, with what all of them say."""
    said = wording(brief)
    excluded = "".join(f"\n- {text}" for text in brief.excluded)
    return prompt(name).fill(
        question=brief.instructions,
        untrusted=prompt("untrusted").template.strip(),
        category_rules=prompt("category_rules").fill(
            unit=said["unit"], excluded=f"\nNever make a category of:\n{excluded}" if excluded else ""
        ),
        **said,
        **{key: str(value) for key, value in values.items()},
    )


def known(categories: Iterable[Category], *, described: bool = True) -> str:
    """What an earlier taxonomy had: the same thing keeps its name, and so its id."""
    listed = [f'- "{c.name}"' + (f": {c.description}" if described else "") for c in categories]
    return "\n".join([_KNOWN, *listed]) if listed else ""
