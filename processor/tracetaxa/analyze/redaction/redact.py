"""One-way redaction of what leaves for a model, and of all that is made from it.

Built-in kinds (patterns.py), patterns of one's own, and a function of one's own. What is replaced can't be
restored: the raw trace stays in ClickHouse.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.plain_text import ELLIPSIS
from tracetaxa.analyze.redaction.hidden import across, hidden_across
from tracetaxa.analyze.redaction.patterns import KINDS, RULES
from tracetaxa.errors import ConfigError, RedactionFailed

if TYPE_CHECKING:
    from tracetaxa.records import TraceRow

Hook = Callable[[str], str]

_PASSES = 3
"""What is replaced may uncover its neighbour: a card number right after a phone number."""
_REACH = 1000
"""How far around a cut patterns of one's own are looked for."""
_BREAKS = " \t\n\r\"',;"
_NUMERIC = "0123456789 +().-/"
_LEAST_HALF = 7
_LEAST_DIGITS = 5
"""A shorter word, or fewer digits, before an ellipsis give nothing away."""
_REMEMBERED = 20_000
"""Texts whose redaction is kept: traces repeat each other, and a hook may be slow."""


@dataclass(frozen=True, slots=True)
class CustomPattern:
    """A pattern of one's own, in RE2's syntax, which takes time linear in the text whatever the pattern."""

    name: str
    regex: str
    replacement: str = ""
    """`[name]` when empty."""

    @property
    def placeholder(self) -> str:
        return self.replacement or f"[{self.name}]"

    def compile(self) -> Any:
        """Raises ConfigError for what RE2 does not take, and for what matches the empty text."""
        import re2

        options = re2.Options()
        options.log_errors = False
        try:
            compiled = re2.compile(self.regex, options)
        except re2.error as error:
            detail = error.args[0]
            said = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
            raise ConfigError(
                f"pattern {self.name!r} is not a regular expression of RE2 (which has no look-around and no "
                f"back-references): {said}"
            ) from error
        if compiled.search("") is not None:
            raise ConfigError(f"pattern {self.name!r} matches the empty text, and so everywhere")
        return compiled


class Redactor:
    """Rows of `traces` → the same without what identifies people or opens doors.

    Not for two threads at once when its hook is not.
    """

    def __init__(
        self,
        kinds: Collection[str] = KINDS,
        patterns: Sequence[CustomPattern] = (),
        hook: Hook | None = None,
        hook_name: str = "",
    ) -> None:
        """`kinds` of `patterns.KINDS`. `hook` sees every text last, after what the patterns replaced.

        Raises ConfigError for a pattern that can't be used.
        """
        self._rules = tuple(rule for rule in RULES if rule.kind in kinds)
        self._patterns = tuple((pattern.compile(), pattern.placeholder) for pattern in patterns)
        self._hook = hook
        self._hook_name = hook_name
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._redacted)

    def __call__(self, row: TraceRow) -> TraceRow:
        """The row with every text that a person or a program wrote redacted, its digest line by line.

        Ids and keys (of users, sessions, services, models, attributes, scores) go through the patterns and
        not through the hook, which would make other words of them: they are what panels join by.
        Raises RedactionFailed when the hook fails.
        """
        return replace(
            row,
            session_id=self.name(row.session_id),
            user_id=self.name(row.user_id),
            service_name=self.name(row.service_name),
            root_name=self.text(row.root_name),
            tools=tuple(self.text(tool) for tool in row.tools),
            models=tuple(self.name(model) for model in row.models),
            last_tool_before_error=self.text(row.last_tool_before_error),
            feedback={self.name(name): score for name, score in row.feedback.items()},
            input=self.text(row.input),
            output=self.text(row.output),
            attributes={self.name(key): self.text(value) for key, value in row.attributes.items()},
            digest_texts=tuple(self.text(text) for text in row.digest_texts),
        )

    def text(self, text: str) -> str:
        """Free text, through everything. Raises RedactionFailed when the hook fails."""
        return self._remembered(text, self._hook is not None) if text else text

    def name(self, text: str) -> str:
        """A name or an id: through everything but the hook."""
        return self._remembered(text, False) if text else text

    def hidden_across(self, text: str, at: int) -> tuple[int, int]:
        """What the built-in kinds and patterns of one's own hide on both sides of `at`; see hidden.py."""
        start, end = hidden_across(text, at)
        if not self._patterns or not 0 < at < len(text):
            return start, end
        low = max(0, at - _REACH)
        around = _encodable(text[low : at + _REACH])
        found = [
            (low + match.start(), low + match.end())
            for compiled, _ in self._patterns
            for match in compiled.finditer(around)
        ]
        return across([*found, (start, end)], at)

    def _redacted(self, text: str, with_hook: bool) -> str:
        if self._patterns:
            text = _encodable(text)
        for compiled, placeholder in self._patterns:
            text = compiled.sub(lambda _, there=placeholder: there, text)
        for _ in range(_PASSES):
            before, folded = text, text.casefold()
            for rule in self._rules:
                text = rule.apply(text, folded)
            if text == before:
                break
        text = without_halves(text)
        return self._hooked(text) if with_hook else text

    def _hooked(self, text: str) -> str:
        assert self._hook is not None
        try:
            redacted = self._hook(text)
        except (Exception, SystemExit) as error:  # libraries that lack a model may exit
            # Not what the error says: it may quote the text.
            raise RedactionFailed(self._failure(f"raised {type(error).__name__}")) from error
        if not isinstance(redacted, str):
            raise RedactionFailed(self._failure(f"returned {type(redacted).__name__} and not text"))
        return redacted

    def _failure(self, what: str) -> str:
        return f"privacy.hook {self._hook_name} {what}: nothing has left for a model, and nothing is reported"


def without_halves(text: str) -> str:
    """`text` without what an ellipsis may have left half of: no pattern knows half a key or card number.

    Where this product cuts, it spares what patterns find; telemetry and its limits do not.
    """
    if ELLIPSIS not in text:
        return text
    *cut, rest = text.split(ELLIPSIS)
    return ELLIPSIS.join([*map(_without_half, cut), rest])


def _without_half(text: str) -> str:
    start = 1 + max(text.rfind(c) for c in _BREAKS)
    word = text[start:]
    plain = word.isalpha() and (word.islower() or word.istitle() or word.isupper())
    if len(word) >= _LEAST_HALF and not plain and not word.endswith("]"):
        return text[:start]
    before = text.rstrip(_NUMERIC)
    return before if sum(c.isdigit() for c in text[len(before) :]) >= _LEAST_DIGITS else text


_BUILT_IN = Redactor()


def redact(text: str) -> str:
    """`text` with `[email]`, `[phone]`, `[key]` and so on in place of what they name: every built-in kind.

    Takes time linear in the length of the text.
    """
    return _BUILT_IN.text(text)


def _encodable(text: str) -> str:
    """RE2 takes only text that encodes as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
