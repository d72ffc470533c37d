"""What is hidden from models and readers."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    Field,
    model_validator,
)

from tracetaxa.analyze.redaction.patterns import KINDS
from tracetaxa.analyze.redaction.redact import CustomPattern
from tracetaxa.config.section import Misplaced, Section, second_of_two
from tracetaxa.config.values import MOST, Name, unknown
from tracetaxa.errors import ConfigError


def _redaction(value: Any) -> Any:
    """YAML reads a bare on as true."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str) and value not in ("auto", "on", "off"):
        value = [kind.strip() for kind in value.split(",")]
    for kind in value if isinstance(value, list | tuple) else ():
        if kind not in KINDS:
            raise ValueError(f"auto, on, off, or a list of kinds; {unknown(str(kind), list(KINDS), 'kind')}")
    return tuple(value) if isinstance(value, list) else value


class PatternConfig(Section):
    name: Name
    """What it finds; `[name]` stands there afterwards."""
    regex: str = Field(min_length=1, max_length=1000)
    """A regular expression in RE2's syntax: no look-around, no back-references; `(?i)` ignores case."""
    replacement: str = Field(default="", max_length=100)
    """What stands there afterwards instead of `[name]`."""

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        try:
            CustomPattern(self.name, self.regex).compile()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self


class PrivacyConfig(Section):
    redact: Annotated[str | tuple[str, ...], BeforeValidator(_redaction)] = "auto"
    """What is replaced before a model or a report sees it. `on`: e-mail addresses, phone, card, social
    security and account numbers, keys, tokens, passwords and public IP addresses, and what `patterns` and
    `hook` find. `auto`: the same unless the engine runs on this machine. `off`: nothing. A list such as
    `[email, key]`: on, with these built-in kinds only (email, phone, card, iban, ssn, key, token, password,
    ip)."""
    patterns: tuple[PatternConfig, ...] = ()
    """Patterns of one's own, wherever redaction is on."""
    hook: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    """A function `module:function` from text to redacted text, wherever redaction is on; called last. When it
    fails, the run fails and nothing leaves (docs/privacy.md)."""
    min_users: int = Field(default=1, ge=1, le=MOST)
    """A category whose traces are of fewer users (or sessions, where there are no user ids) is reported
    without examples and quotes."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        second = second_of_two([pattern.name for pattern in self.patterns])
        if second is not None:
            raise Misplaced("two patterns have the same name", "patterns", second, "name")
        return self
