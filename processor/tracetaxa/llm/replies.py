"""JSON out of a model's reply, checked against the schema that was asked for."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import fastjsonschema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MOST_STARTS = 64
"""Places in a reply where a JSON value may be looked for: bounds the work on a hostile reply."""

_PROBLEM_CHARS = 400

_THINKING = re.compile(r"^\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL | re.IGNORECASE)

SCHEMA_FOLLOWS = "Answer with one JSON value and nothing else. It must match this JSON Schema:"


class UnusableReplyError(ValueError):
    """The reply is not what was asked for; the message can be shown to the model."""


def instruction(schema: Mapping[str, Any]) -> str:
    """The schema in words, for endpoints without structured output."""
    return f"{SCHEMA_FOLLOWS}\n{json.dumps(schema, ensure_ascii=False, separators=(',', ':'))}"


def read(text: str, schema: Mapping[str, Any]) -> Any:
    """The JSON value in `text`, valid under `schema`. Raises UnusableReplyError.

    Takes the first value of the schema's kind when the reply has more around it: prose, a code fence, the
    model's thinking.
    """
    value = _parse(text, "[" if schema.get("type") == "array" else "{")
    try:
        _checker(json.dumps(schema, sort_keys=True))(value)
    except fastjsonschema.JsonSchemaValueException as error:
        raise UnusableReplyError(f"it does not match the schema: {error.message[:_PROBLEM_CHARS]}") from None
    return value


def _parse(text: str, opening: str) -> Any:
    text = _THINKING.sub("", text)
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    problem = "it holds no JSON"
    position = text.find(opening)
    for _ in range(_MOST_STARTS):
        if position < 0:
            break
        try:
            return decoder.raw_decode(text, position)[0]
        except (ValueError, RecursionError) as error:
            problem = f"it is not valid JSON: {str(error)[:_PROBLEM_CHARS]}"
        position = text.find(opening, position + 1)
    raise UnusableReplyError(problem)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@lru_cache(maxsize=64)
def _checker(schema: str) -> Callable[[Any], Any]:
    # fastjsonschema writes Python code from the schema. Our schemas hold only ids and configured values, and
    # it quotes those; nothing that a model said goes into one.
    check: Callable[[Any], Any] = fastjsonschema.compile(json.loads(schema), use_default=False)
    return check
