"""The shapes of a model's replies, and how they become values.

The schemas keep to what strict structured output allows everywhere: every property required, nothing
additional, no bounds on numbers or lengths. Those are checked here.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.untrusted import injection
from tracetaxa.analyze.untrusted.fence import neutralise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.records import AttributeSpec

_REASON_CHARS = 300
_VALUE_CHARS = 200
_MARKUP = re.compile(r"[<>]+")

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_KEYS: Schema = {"type": "array", "items": _TEXT}


def _object(**properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list_of(name: str, item: Schema) -> Schema:
    return _object(**{name: {"type": "array", "items": item}})


PROPOSED = _list_of("kinds", _object(name=_TEXT, description=_TEXT, members=_KEYS))
"""Pass 1, a batch: kinds with the keys of their traces."""

GROUPED = _list_of("categories", _object(name=_TEXT, description=_TEXT, kinds=_KEYS))
"""Pass 1, merging, reviewing and dividing: categories with the keys of their kinds."""

QUOTED = _list_of("quotes", _object(key=_TEXT, evidence=_TEXT))
"""Pass 2, a second look for evidence."""


def labelled(labels: Sequence[str], attributes: Sequence[AttributeSpec]) -> Schema:
    """Pass 2: one entry a trace, its label one of `labels`; evidence and reason come before the verdict."""
    values = {"attributes": _object(**{a.name: _value(a) for a in attributes})} if attributes else {}
    entry = _object(
        key=_TEXT,
        evidence=_TEXT,
        reason=_TEXT,
        label={"type": "string", "enum": list(labels)},
        confidence={"type": "number"},
        **values,
    )
    return _list_of("labels", entry)


def _value(attribute: AttributeSpec) -> Schema:
    if attribute.type == "enum":
        return {"anyOf": [{"type": "string", "enum": list(attribute.values)}, {"type": "null"}]}
    return {"type": [attribute.type, "null"]}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a model said about one trace; its quote has not been looked up yet."""

    label: str
    confidence: float
    reason: str
    quote: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Verdicts:
    by_key: Mapping[str, Verdict]
    """Of the keys that were asked about; the first entry of each."""
    disputed: bool
    """Some key has entries that contradict each other: a piece may have made the model write a second one."""


def verdicts(reply: Any, keys: Sequence[str]) -> Verdicts:
    """What a reply says of these keys. Keys that nobody asked about are dropped."""
    found: dict[str, Verdict] = {}
    disputed = False
    for entry in reply["labels"]:
        key, verdict = entry["key"].strip(), _verdict(entry)
        disputed |= key in keys and key in found and found[key].label != verdict.label
        found.setdefault(key, verdict)
    return Verdicts({key: found[key] for key in keys if key in found}, disputed)


def quotes(reply: Any) -> dict[str, str]:
    """Quotes by key; the first of each counts."""
    found: dict[str, str] = {}
    for entry in reply["quotes"]:
        found.setdefault(entry["key"].strip(), entry["evidence"])
    return found


def _verdict(entry: Mapping[str, Any]) -> Verdict:
    values = entry.get("attributes") or {}
    return Verdict(
        label=entry["label"],
        confidence=_confidence(entry["confidence"]),
        reason=_reason(entry["reason"]),
        quote=entry["evidence"],
        attributes={name: _text(value) for name, value in values.items() if value is not None},
    )


def _reason(text: str) -> str:
    """In the model's own words, which a trace may have put into its mouth: then none."""
    return "" if injection.unfit(text) else _one_line(text)[:_REASON_CHARS]


def _confidence(value: float) -> float:
    """In [0, 1]; numbers up to 100 are taken as percent."""
    if not math.isfinite(value):
        return 0.0
    return min(max(value / 100 if 1 < value <= 100 else value, 0.0), 1.0)


def _text(value: bool | float | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return _one_line(str(value))[:_VALUE_CHARS]


def _one_line(text: str) -> str:
    return neutralise(_MARKUP.sub(" ", neutralise(text)))
