"""A model that costs nothing: its replies have the shape and the usual length of real ones, and no meaning.

A rehearsal of a run talks to it to find out what the run will ask, and how long the answers will be. It takes
the passes' requests apart as a model does (pieces between markers, a schema to answer by), so prompts may
change without it. What it says is consistent: a trace has one kind whenever it is shown.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze import naming
from tracetaxa.analyze.model.evidence import MIN_CHARS, QUOTABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tracetaxa.records import Brief

    Messages = Sequence[Mapping[str, str]]
    Schema = Mapping[str, Any]

_PIECE = re.compile(r"<<<data (\S+)[^>\n]*>>>\n(.*?)\n?<<<end \1", re.DOTALL)
_KIND = re.compile(r"^(k\d+) \(.*?\): ([^:]*):", re.MULTILINE)
_CONTROL = re.compile(r"^control: .*?(\S+)$")
"""A piece that says its own label, see control.py."""

_TRACES_A_KIND = 4
_FEWEST_KINDS, _MOST_KINDS = 3, 15
"""In one batch of pass 1: 40 traces show ten kinds."""
_SUBCATEGORIES = 4
_CATEGORY_SHARE = 0.8
"""Of the categories that may be, so many are found."""
_USUAL_WORDS = {"evidence": 14, "reason": 13, "description": 20}
"""Usual length of what a reply says, by the name of its field; the prompts bound them."""
_OTHER_WORDS = 6

_DOES = ("Changing", "Cancelling", "Comparing", "Finding", "Explaining", "Reporting", "Booking", "Checking")
_WHAT = ("orders", "invoices", "flights", "accounts", "parcels", "passwords", "refunds", "addresses")
_HOW = ("after a delay", "for another person", "without a receipt", "before the deadline", "by mistake")
_PROSE = "The user asks for a change that the agent confirms once it has looked up what is stored about it"


class StandIn:
    """Answers what the `openai` engine asks of a model, for one `brief`."""

    def __init__(self, brief: Brief) -> None:
        own = round(brief.max_categories * _CATEGORY_SHARE) - len(brief.predefined)
        self._categories = max(own, 1)
        self._subcategories = min(_SUBCATEGORIES, brief.max_subcategories)
        self._kinds = self._categories * self._subcategories
        self._kind_of_name: dict[str, int] = {}

    def answer(self, messages: Messages, schema: Schema | None) -> Any:
        """JSON that matches the schema; text when there is none."""
        if schema is None:
            return "OK"
        data = messages[-1]["content"]
        pieces = dict(_PIECE.findall(data))
        asked = next(iter(schema.get("properties", {})), "")
        if asked == "kinds":
            return {"kinds": list(self._proposed(pieces))}
        if asked == "categories":
            return {"categories": list(self._grouped(data))}
        if asked in ("labels", "quotes"):
            item = schema["properties"][asked]["items"]
            return {asked: [self._entry(key, text, item) for key, text in pieces.items()]}
        return _filled("", schema)

    def _proposed(self, pieces: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        found = min(max(len(pieces) // _TRACES_A_KIND, _FEWEST_KINDS), _MOST_KINDS)
        members: dict[int, list[str]] = {}
        for key, text in pieces.items():
            members.setdefault(self._kind(text) * found // self._kinds, []).append(key)
        for number, keys in members.items():
            kind = self._kind(pieces[keys[0]])
            name = f"{_kind_name(kind)} {len(self._kind_of_name) + 1}"
            self._kind_of_name[naming.clean_name(name)] = kind
            # The same kind has other words in each batch.
            yield {"name": name, "description": _filler("description", number), "members": keys}

    def _grouped(self, listing: str) -> Iterator[dict[str, Any]]:
        inside = re.search(r"^category: ", listing, re.MULTILINE) is not None
        groups: dict[str, list[str]] = {}
        for key, told in _KIND.findall(listing):
            kind = self._kind_of_name.get(told.strip(), _number(told) % self._kinds)
            name = _kind_name(kind) if inside else _category_name(kind // self._subcategories)
            groups.setdefault(name, []).append(key)
        for name, keys in groups.items():
            yield {"name": name, "description": _filler("description", len(name)), "kinds": keys}

    def _entry(self, key: str, text: str, item: Schema) -> dict[str, Any]:
        entry = {}
        for name, schema in item["properties"].items():
            if name == "key":
                entry[name] = key
            elif name == "evidence":
                entry[name] = _quote(text)
            elif name == "label":
                entry[name] = self._label(text, schema["enum"])
            else:
                entry[name] = _filled(name, schema)
        return entry

    def _label(self, text: str, labels: Sequence[str]) -> str:
        told = _CONTROL.match(text)
        if told and told[1] in labels:
            return told[1]
        kind = self._kind(text)
        category = naming.slug(_category_name(kind // self._subcategories))
        for label in (f"{category}__{naming.slug(_kind_name(kind))}", category):
            if label in labels:
                return label
        return labels[kind % len(labels)]

    def _kind(self, text: str) -> int:
        return _number(_quote(text)) % self._kinds


def _category_name(number: int) -> str:
    return f"{_nth(_DOES, number)} {_nth(_WHAT, number // len(_DOES))} and the like {number}"


def _kind_name(number: int) -> str:
    return f"{_nth(_DOES, number)} {_nth(_WHAT, number)} {_nth(_HOW, number)} {number}"


def _nth(words: Sequence[str], number: int) -> str:
    return words[number % len(words)]


def _number(text: str) -> int:
    """The same for the same text in every process."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest()[:6])


def _quote(text: str) -> str:
    """The first words of a line that can be evidence."""
    told = [line.partition(": ") for line in text.splitlines()]
    lines = [words for kind, _, words in told if kind in QUOTABLE and words.strip()]
    line = next((words for words in lines if len(words) >= MIN_CHARS), lines[0] if lines else "")
    quote = " ".join(line.split()[: _USUAL_WORDS["evidence"]])
    return quote if len(quote) >= MIN_CHARS else line


def _filler(name: str, start: int) -> str:
    words = _PROSE.split()
    return " ".join(_nth(words, start + i) for i in range(_USUAL_WORDS.get(name, _OTHER_WORDS)))


def _filled(name: str, schema: Schema) -> Any:
    """A value that matches a schema, of usual length."""
    if "anyOf" in schema:
        return _filled(name, schema["anyOf"][0])
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "string")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            return {key: _filled(key, value) for key, value in schema.get("properties", {}).items()}
        case "array":
            return [_filled(name, schema["items"])] if "items" in schema else []
        case "number":
            return 0.85
        case "integer":
            return 1
        case "boolean":
            return False
        case _:
            return _filler(name, 0)
