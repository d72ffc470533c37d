"""Feedback as clients and files give it: one JSON object → one row of `feedback`."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from tracetaxa.dialects.verdicts import score_of_label
from tracetaxa.fields import MAX_ID_CHARS, hex_id, own_id, plain_text
from tracetaxa.records import Feedback

DEFAULT_NAME = "feedback"
OWN_NAMES = "tracetaxa."
"""Labels travel as evaluations of these names; when they come back they are nobody's feedback."""
MAX_NAME_CHARS = 200
"""Of names and labels."""
MAX_COMMENT_CHARS = 10_000
MAX_ITEMS = 1000
"""Pieces of feedback in one request."""
MAX_AHEAD_NS = 86_400 * 10**9
"""How far a client's clock may be ahead; what is within counts as given now."""

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?", re.IGNORECASE)
"""https://www.w3.org/TR/trace-context/#traceparent-header"""
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
"""https://www.rfc-editor.org/rfc/rfc3339#section-5.6"""
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MAX_NUMBER_CHARS = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FeedbackInvalid(ValueError):
    """One sentence that names the field and says what it must be."""


def parse_feedback(
    item: Mapping[str, Any], source: Literal["api", "import"], now_ns: int, *, oldest_ns: int = 0
) -> Feedback:
    """One piece of feedback; docs/feedback.md has the fields. Raises FeedbackInvalid.

    Its id is a hash of target, name, annotator, user and the client's own id: who gives it again changes it.
    A time before `oldest_ns` (what the store would drop at once) is refused.
    """
    given = _validated(item)
    trace_id, span_id = _target(given)
    if not (trace_id or given.session_id):
        raise FeedbackInvalid("trace_id is missing; traceparent or session_id will do too")
    if span_id and not trace_id:
        raise FeedbackInvalid("span_id needs the trace_id of its trace")
    if given.score is None and not given.label and not given.comment:
        raise FeedbackInvalid("score is missing; label or comment will do too")
    given_at_ns = now_ns if given.time is None else given.time
    if given_at_ns < oldest_ns:
        oldest = datetime.fromtimestamp(oldest_ns // 10**9, UTC).isoformat()
        raise FeedbackInvalid(f"time is before {oldest}, older than what is kept")
    if given_at_ns > now_ns + MAX_AHEAD_NS:
        raise FeedbackInvalid("time is more than a day ahead")
    target = [trace_id, span_id] if trace_id else [given.session_id]
    return Feedback(
        feedback_id=_identity(*target, given.name, given.annotator, given.user, given.id),
        trace_id=trace_id,
        session_id=given.session_id,
        span_id=span_id,
        name=given.name,
        score=score_of_label(given.label) if given.score is None else given.score,
        label=given.label,
        comment=given.comment,
        annotator=given.annotator,
        source=source,
        given_at_ns=min(given_at_ns, now_ns),
    )


def items_of(body: Any) -> list[Any]:
    """What a request holds: one object, a list of them, or `{"feedback": […]}`. Raises FeedbackInvalid."""
    if isinstance(body, Mapping) and "feedback" in body:
        if len(body) > 1:
            raise FeedbackInvalid("feedback must be the only field beside its list")
        body = body["feedback"]
        if not isinstance(body, list):
            raise FeedbackInvalid("feedback must be a list of objects")
    items = body if isinstance(body, list) else [body]
    if len(items) > MAX_ITEMS:
        raise FeedbackInvalid(f"feedback holds {len(items)} items; send at most {MAX_ITEMS} at once")
    return items


# ------------------------------------------------------------------------------------------------- fields


def _name(value: Any) -> str:
    if value is None:
        return DEFAULT_NAME
    name = plain_text(value, MAX_NAME_CHARS)
    if not name:
        raise ValueError("must not be empty")
    if name.startswith(OWN_NAMES):
        raise ValueError(f"must not begin with {OWN_NAMES!r}, which is for labels")
    return name


def _traceparent(value: Any) -> tuple[str, str]:
    text = plain_text(value, MAX_ID_CHARS)
    if not text:
        return "", ""
    match = _TRACEPARENT.fullmatch(text)
    if not match or match[1].lower() == "ff" or (match[1] == "00" and match[4]):
        raise ValueError("must be a W3C traceparent: 00-TRACE_ID-SPAN_ID-FLAGS")
    return hex_id(match[2], 32), hex_id(match[3], 16)


def _score(value: Any) -> float | None:
    if value is None or value == "":
        return None
    number = math.nan
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    elif isinstance(value, str) and len(value) <= _MAX_NUMBER_CHARS and _NUMBER.fullmatch(value.strip()):
        number = float(value)
    if not math.isfinite(number):
        raise ValueError("must be a finite number, true or false; words belong in label")
    return number


def _annotator(value: Any) -> str:
    kind = plain_text(value, MAX_ID_CHARS).upper() or "HUMAN"
    if kind not in ("HUMAN", "LLM", "CODE"):
        raise ValueError("must be HUMAN, LLM or CODE")
    return kind


def _time(value: Any) -> int | None:
    text = plain_text(value, MAX_ID_CHARS)
    if not text:
        return None
    match = _TIME.fullmatch(text)
    try:
        if not match:
            raise ValueError
        moment = datetime.fromisoformat(f"{match[1]}T{match[2]}{match[4].upper()}")
    except ValueError:
        raise ValueError("must be RFC 3339, such as 2026-11-22T10:00:00Z") from None
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 10**9 + int((match[3] or "").ljust(9, "0"))


class _Item(BaseModel):
    """Null and empty text stand for what is not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    traceparent: Annotated[tuple[str, str], BeforeValidator(_traceparent)] = ("", "")
    trace_id: Annotated[str, BeforeValidator(partial(hex_id, digits=32))] = ""
    span_id: Annotated[str, BeforeValidator(partial(hex_id, digits=16))] = ""
    session_id: Annotated[str, BeforeValidator(own_id)] = ""
    name: Annotated[str, BeforeValidator(_name)] = DEFAULT_NAME
    score: Annotated[float | None, BeforeValidator(_score)] = None
    label: Annotated[str, BeforeValidator(partial(plain_text, limit=MAX_NAME_CHARS))] = ""
    comment: Annotated[str, BeforeValidator(partial(plain_text, limit=MAX_COMMENT_CHARS, lines=True))] = ""
    annotator: Annotated[str, BeforeValidator(_annotator)] = "HUMAN"
    user: Annotated[str, BeforeValidator(own_id)] = ""
    id: Annotated[str, BeforeValidator(own_id)] = ""
    time: Annotated[int | None, BeforeValidator(_time)] = None


def _validated(item: Any) -> _Item:
    if not isinstance(item, Mapping):
        raise FeedbackInvalid("feedback must be an object")
    for key in item:
        if key not in _Item.model_fields:
            raise FeedbackInvalid(_unknown(key))
    try:
        return _Item.model_validate(dict(item))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = first.get("ctx", {}).get("error", first["msg"])
        raise FeedbackInvalid(f"{first['loc'][0]} {reason}") from None


def _unknown(key: object) -> str:
    shown = str(key)[:60]
    near = difflib.get_close_matches(shown, _Item.model_fields, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else f"known fields: {', '.join(_Item.model_fields)}"
    return f"field {shown!r} is not known; {hint}"


def _target(given: _Item) -> tuple[str, str]:
    """(trace id, span id); what is given twice must be the same."""
    trace_id, span_id = given.traceparent
    if trace_id and given.trace_id not in ("", trace_id):
        raise FeedbackInvalid("trace_id and traceparent name different traces")
    if span_id and given.span_id not in ("", span_id):
        raise FeedbackInvalid("span_id and traceparent name different spans")
    return trace_id or given.trace_id, span_id or given.span_id


def _identity(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
