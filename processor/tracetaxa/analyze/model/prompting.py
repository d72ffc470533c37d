"""Prompts: Markdown files beside this module, called by name, with a fingerprint."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLACE = re.compile(r"\{\{([a-z_]+)\}\}")


@dataclass(frozen=True, slots=True)
class Prompt:
    name: str
    template: str

    @property
    def fingerprint(self) -> str:
        """First 12 hex digits of the file's SHA-256: stored with whatever the prompt made."""
        return hashlib.sha256(self.template.encode()).hexdigest()[:12]

    def fill(self, **values: str) -> str:
        """The text with every `{{name}}` replaced, in one pass: a value is never read as a template."""
        return _PLACE.sub(lambda place: values[place[1]], self.template).strip()


@cache
def prompt(name: str) -> Prompt:
    """`prompts/<name>.md`."""
    text = (files("tracetaxa.analyze") / "prompts" / f"{name}.md").read_text("utf-8")
    return Prompt(name, text)


def fingerprints(names: tuple[str, ...]) -> Mapping[str, str]:
    return {name: prompt(name).fingerprint for name in names}
