"""Labels by people as clients give them: one JSON object → one `GivenLabel`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from tracetaxa.fields import hex_id, own_id, plain_text

MAX_NAME_CHARS = 200
"""Of analyses, categories and people."""
MAX_NOTE_CHARS = 10_000
MAX_ITEMS = 1000
"""Labels in one request."""


class LabelInvalid(ValueError):
    """One sentence that says what is wrong with a label, and what would be right."""


_Name = Annotated[str, BeforeValidator(partial(plain_text, limit=MAX_NAME_CHARS))]


class GivenLabel(BaseModel):
    """Null and empty text stand for what is not given. Exactly one of trace_id and session_id is set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trace_id: Annotated[str, BeforeValidator(partial(hex_id, digits=32))] = ""
    session_id: Annotated[str, BeforeValidator(own_id)] = ""
    analysis: _Name = ""
    category: _Name = ""
    """Its id or its name."""
    subcategory: _Name = ""
    note: Annotated[str, BeforeValidator(partial(plain_text, limit=MAX_NOTE_CHARS, lines=True))] = ""
    who: _Name = ""
    take_back: bool = False
    """What people said before no longer counts; there is no category then."""

    @property
    def target(self) -> str:
        """For people: which trace or session this is about."""
        return f"trace {self.trace_id}" if self.trace_id else f"session {self.session_id!r}"


def parse_label(item: Any) -> GivenLabel:
    """Raises LabelInvalid."""
    if not isinstance(item, Mapping):
        raise LabelInvalid("a label must be an object")
    for key in item:
        if key not in GivenLabel.model_fields:
            raise LabelInvalid(_unknown(str(key)[:60]))
    if not isinstance(item.get("take_back", False), bool):
        raise LabelInvalid("take_back must be true or false")
    try:
        given = GivenLabel.model_validate(dict(item))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = first.get("ctx", {}).get("error", first["msg"])
        raise LabelInvalid(f"{first['loc'][0]} {reason}") from None
    if bool(given.trace_id) == bool(given.session_id):
        raise LabelInvalid("give one of trace_id and session_id")
    if not given.analysis:
        raise LabelInvalid("analysis is missing")
    if given.take_back and (given.category or given.subcategory):
        raise LabelInvalid(
            "take_back takes no category: give another label, or take back the one that is there"
        )
    if not given.take_back and not given.category:
        raise LabelInvalid("category is missing")
    return given


def items_of(body: Any) -> list[Any]:
    """What a request holds: one object, a list of them, or `{"labels": […]}`. Raises LabelInvalid."""
    if isinstance(body, Mapping) and "labels" in body:
        if len(body) > 1:
            raise LabelInvalid("labels must be the only field beside its list")
        body = body["labels"]
        if not isinstance(body, list):
            raise LabelInvalid("labels must be a list of objects")
    items = body if isinstance(body, list) else [body]
    if len(items) > MAX_ITEMS:
        raise LabelInvalid(f"there are {len(items)} labels; send at most {MAX_ITEMS} at once")
    return items


def _unknown(key: str) -> str:
    near = difflib.get_close_matches(key, GivenLabel.model_fields, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else f"known fields: {', '.join(GivenLabel.model_fields)}"
    return f"field {key!r} is not known; {hint}"
