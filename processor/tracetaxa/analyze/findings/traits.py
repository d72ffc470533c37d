"""What a trace has or has not that may go with how it went: of its request, its cohort, what was extracted,
and what it used.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tracetaxa.analyze.findings.associations import Trait, TraitKind
from tracetaxa.analyze.findings.shapes import traits_of
from tracetaxa.analyze.statistics.contingency import LEAST_GROUP
from tracetaxa.analyze.statistics.estimate import quantile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tracetaxa.analyze.findings.shapes import RequestShape
    from tracetaxa.analyze.results.aggregate import Labelled

MOST_VALUES = 12
"""Values of one attribute that are tested, the most frequent ones."""
MOST_TRAITS = 400
"""Traits that are tested; those that most traces have come first."""
RANKS: dict[TraitKind, int] = {
    "request": 0,
    "attribute": 1,
    "extracted": 2,
    "service": 3,
    "model": 4,
    "tool": 5,
}
"""Of traits that the same traces have, the first is the one that is told."""
_LABEL = re.compile(r"[\w.:/+@#-]{1,40}(?: [\w.:/+@#-]{1,40}){0,3}")
"""What may be said of an attribute in a sentence: a name or a short label, never somebody's prose."""
_MANY_NUMBERS = 8
"""More distinct numbers of one extracted attribute are told apart by their median."""
_NO_COHORT = (
    *("otel.scope.", "telemetry.", "tracetaxa."),
    *("user.id", "user.name", "user.email", "user.full_name", "enduser.", "session.", "gen_ai.conversation."),
)
"""Attributes of how a trace was recorded, and of who one person is."""


@dataclass(frozen=True, slots=True)
class Told:
    """What may be said of a trace beside its row, by trace id, and what may not."""

    shapes: Mapping[str, RequestShape] = field(default_factory=dict)
    """Those of the requests that were captured."""
    people: Mapping[str, str] = field(default_factory=dict)
    """Whose traces they are."""
    min_users: int = 1
    """So many people must share the value of an attribute before it is told."""
    free_text: frozenset[str] = frozenset()
    """Extracted attributes whose values are somebody's words."""


def traits(labelled: Sequence[Labelled], told: Told) -> list[Trait]:
    """In the order of `RANKS`: of those that the same traces have, the first is tested."""
    having: dict[tuple[TraitKind, str, str], list[int]] = defaultdict(list)
    ladders: dict[tuple[TraitKind, str, str], str] = {}
    for i, label in enumerate(labelled):
        for kind, name, value, ladder in _of_one(label, told):
            having[kind, name, value].append(i)
            if ladder:
                ladders[kind, name, value] = ladder
    having |= _halves(labelled)
    people = [told.people.get(label.trace.row.trace_id, "") for label in labelled]
    enough = {
        key: at
        for key, at in having.items()
        if LEAST_GROUP <= len(at) <= len(labelled) - LEAST_GROUP
        and (told.min_users <= 1 or len({people[i] for i in at}) >= told.min_users)
    }
    values: dict[tuple[TraitKind, str], Counter[str]] = defaultdict(Counter)
    for (kind, name, value), at in enough.items():
        values[kind, name][value] = len(at)
    kept = [
        (kind, name, value)
        for (kind, name), counts in values.items()
        for value, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_VALUES]
    ]
    most = sorted(kept, key=lambda key: (-len(enough[key]), key))[:MOST_TRAITS]
    half = len(labelled) / 2

    def rank(key: tuple[TraitKind, str, str]) -> tuple[int, bool, float, str, str]:
        """By kind; of two that share the traces out the rarer first, of limits the highest."""
        kind, name, value = key
        limit = float(value) if value.isdecimal() and kind == "request" else 0.0
        return RANKS[kind], len(enough[key]) > half, -limit, name, value

    ranked = sorted(most, key=rank)
    return [Trait(*key, members=_bits(enough[key]), ladder=ladders.get(key, "")) for key in ranked]


def _bits(at: Sequence[int]) -> int:
    return sum(1 << i for i in at)


def _of_one(label: Labelled, told: Told) -> Iterator[tuple[TraitKind, str, str, str]]:
    row = label.trace.row
    if shape := told.shapes.get(row.trace_id):
        for (name, value), ladder in traits_of(shape).items():
            yield "request", name, value, ladder
    for name, value in row.attributes.items():
        if not name.startswith(_NO_COHORT) and _LABEL.fullmatch(name) and _LABEL.fullmatch(value):
            yield "attribute", name, value, ""
    if _LABEL.fullmatch(row.service_name):
        yield "service", "", row.service_name, ""
    for name, value in label.assignment.attributes.items():
        if name not in told.free_text and _LABEL.fullmatch(value):
            yield "extracted", name, value, ""
    for model in set(row.models):
        if _LABEL.fullmatch(model):
            yield "model", "", model, ""
    for tool in set(row.tools):
        if _LABEL.fullmatch(tool):
            yield "tool", "", tool, ""


def _halves(labelled: Sequence[Labelled]) -> dict[tuple[TraitKind, str, str], list[int]]:
    """Extracted attributes with many numbers: those above their median."""
    numbers: dict[str, dict[int, float]] = defaultdict(dict)
    for i, label in enumerate(labelled):
        for name, value in label.assignment.attributes.items():
            if (number := _number(value)) is not None:
                numbers[name][i] = number
    halves: dict[tuple[TraitKind, str, str], list[int]] = {}
    for name, by_unit in numbers.items():
        if len(set(by_unit.values())) > _MANY_NUMBERS:
            middle = quantile(list(by_unit.values()), [1.0] * len(by_unit), 0.5)
            halves["extracted", name, f"above {middle:g}"] = [i for i, n in by_unit.items() if n > middle]
    return halves


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < 1e15 else None
