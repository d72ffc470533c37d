"""What a tool was called with and what it returned, out of what instrumentations record of a call."""

from __future__ import annotations

import ast
from typing import Any

from tracetaxa.dialects.values import canonical_json, load_json, text_of

_LONGEST_LITERAL = 20_000


def called_with(raw: str) -> str:
    """The arguments as compact JSON, without the wrappers of callbacks and decorators; else the text."""
    value = load_json(raw) if raw.lstrip()[:1] == "{" else None
    if not isinstance(value, dict):
        return canonical_json(raw)
    if isinstance(value.get("kwargs"), dict) and isinstance(value.get("args"), list):
        return text_of(value["kwargs"] or value["args"] or "")
    if "input_str" in value:
        return canonical_json(value.get("inputs") or python_literal(value["input_str"]))
    return text_of(value)


def returned_by(said: str) -> str:
    """The value in `{"output": value, …}`, as callbacks record what a tool returned; else the text."""
    value = load_json(said) if said.startswith('{"output":') else None
    return text_of(value["output"]) if isinstance(value, dict) else said


def python_literal(written: Any) -> Any:
    """The value of a dict or list as Python prints it; what is none stays as it is."""
    if not isinstance(written, str) or len(written) > _LONGEST_LITERAL or written[:1] not in ("{", "["):
        return written
    try:
        return ast.literal_eval(written)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return written
