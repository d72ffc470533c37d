"""What is wrong with a value of the configuration, in words that need no knowledge of how it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

_FORMS = {
    "bool": "must be true or false",
    "int": "must be a whole number",
    "float": "must be a number",
    "finite_number": "must be a finite number",
    "string": "must be text",
    "path": "must be the path of a file",
    "tuple": "must be a list",
    "list": "must be a list",
    "dict": "must be a section with keys of its own",
    "mapping": "must be a section with keys of its own",
    "model": "must be a section with keys of its own",
    "missing": "is needed",
}
"""By the first words of pydantic's type of error, which go on with `_type`, `_parsing` and the like."""
_BOUNDS = {
    "greater_than": ("gt", "must be more than {}"),
    "greater_than_equal": ("ge", "must be at least {}"),
    "less_than": ("lt", "must be less than {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "string_too_short": ("min_length", "must have at least {} characters"),
    "string_too_long": ("max_length", "must have at most {} characters"),
    "too_short": ("min_length", "must have at least {} entries"),
    "too_long": ("max_length", "must have at most {} entries"),
    "literal_error": ("expected", "must be {}"),
}
_PATTERNS = (
    ("[a-z][a-z0-9_]*", "must begin with a letter and be of a-z, 0-9 and _"),
    (":[A-Za-z_]", "must name a function, as module:function"),
    ("https?://", "must be a URL such as https://collector.example:4318"),
    ("A-Za-z0-9_.-", "must be a name of letters, digits, _, . and -"),
)
"""By a part of the pattern."""
_SHOWN_CHARS = 60


def plainly(problem: ErrorDetails) -> str:
    """One mistake, without its place: what the value must be, and, of what is short, what it is."""
    kind, about = problem["type"], problem.get("ctx", {})
    if kind == "value_error":
        return problem["msg"].removeprefix("Value error, ")
    if kind in ("string_too_short", "too_short") and about.get("min_length") == 1:
        return "must not be empty"
    must = _must(kind, about)
    if must is None:
        return problem["msg"]
    # Headers hold keys.
    told = kind != "missing" and "headers" not in problem["loc"]
    return f"{must}{_not(problem['input'])}" if told else must


def _must(kind: str, about: Mapping[str, Any]) -> str | None:
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        bound = about[name]
        if isinstance(bound, int | float):
            bound = f"{bound:,.15g}"
        return words.format(bound)
    if kind == "string_pattern_mismatch":
        pattern = about["pattern"]
        return next(
            (words for part, words in _PATTERNS if part in pattern), "is not of the form that it must have"
        )
    for beginning, words in _FORMS.items():
        if kind == beginning or kind.startswith(f"{beginning}_"):
            return words
    return None


def _not(value: Any) -> str:
    """What stands there instead, where that helps."""
    if value is None:
        return ", not empty"
    if isinstance(value, bool):
        return f", not {str(value).lower()}"
    if isinstance(value, str | int | float):
        shown = repr(value)
        return f", not {shown}" if len(shown) <= _SHOWN_CHARS else ""
    return ", not a list" if isinstance(value, list | tuple) else ", not a section with keys"
