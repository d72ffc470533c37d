"""What a report says beyond its tables: which traits of traces go with errors, with long waits and with
categories, as numbers and as one sentence each.
"""

from __future__ import annotations

from collections import Counter
from math import floor, log10
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.findings.associations import (
    FALSE_DISCOVERY_RATE,
    Association,
    Outcome,
    OutcomeKind,
    Trait,
    TraitKind,
    associations,
)
from tracetaxa.analyze.findings.traits import RANKS, Told, traits
from tracetaxa.analyze.results.aggregate import design_of, with_verdict
from tracetaxa.analyze.statistics.contingency import mask
from tracetaxa.analyze.statistics.estimate import quantile
from tracetaxa.records import OTHER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.analyze.results.aggregate import Labelled
    from tracetaxa.analyze.statistics.estimate import Design
    from tracetaxa.records import Taxonomy

MOST_ALIKE = 2
"""Findings that are told of one outcome and one kind of trait."""
MOST_TOLD = 20
"""Findings that a report keeps."""
_BOUND = 99
"""Beyond so many times as often, how many is not told."""
SLOW = 0.9
"""A long wait is one that is longer than this quantile of the window's."""


def find(
    labelled: Sequence[Labelled],
    strata: Mapping[str, float],
    taxonomy: Taxonomy,
    told: Told | None = None,
    unit: str = "trace",
) -> dict[str, Any] | None:
    """The document's `findings`; None when there is no verdict to find anything in."""
    labelled, told = with_verdict(labelled), told or Told()
    if not labelled:
        return None
    design = design_of(labelled, strata)
    names = {category.category_id: category.name for category in taxonomy.categories}
    found = associations(traits(labelled, told), _outcomes(labelled, design, taxonomy), design)
    return {
        "tested": found.tested,
        "found": len(found.found),
        "false_discovery_rate": FALSE_DISCOVERY_RATE,
        "associations": [_told(a, names, unit) for a in _worth_telling(found.found)],
    }


def _worth_telling(found: Sequence[Association]) -> list[Association]:
    """Errors first, then failing calls, long waits and categories; of a category only where it is more
    frequent, since the others are then less so. What says nearly the same again is left out."""
    order: dict[OutcomeKind, int] = {"errors": 0, "calls": 1, "latency": 2, "category": 3}

    def rank(a: Association) -> tuple[int, bool, int]:
        # What tools a trace used often follows from what it was about; who asked, and how, does not.
        kind = RANKS[a.trait.kind] if a.outcome.kind == "category" else int(a.trait.kind == "tool")
        return order[a.outcome.kind], a.ratio < 1, kind

    alike: Counter[tuple[OutcomeKind, str, TraitKind]] = Counter()
    told = []
    for a in sorted(found, key=rank):
        key = (a.outcome.kind, a.outcome.category_id, a.trait.kind)
        if alike[key] < MOST_ALIKE and (a.outcome.kind != "category" or a.ratio > 1):
            alike[key] += 1
            told.append(a)
    return told[:MOST_TOLD]


# ------------------------------------------------------------------------------------------------- outcomes


def _outcomes(labelled: Sequence[Labelled], design: Design, taxonomy: Taxonomy) -> list[Outcome]:
    durations = [label.trace.row.duration_ms for label in labelled]
    slow = _round(quantile(durations, design.weights, SLOW))
    failed = mask(label.failed for label in labelled)
    calls = mask(label.trace.row.error_count > 0 for label in labelled)
    outcomes = [
        Outcome("errors", failed),
        *([Outcome("calls", calls)] if calls != failed else []),
        Outcome("latency", mask(duration > slow for duration in durations), above_ms=slow),
    ]
    for category in taxonomy.categories:
        if category.level == 1 and category.category_id != OTHER:
            inside = mask(label.assignment.category_id == category.category_id for label in labelled)
            outcomes.append(Outcome("category", inside, category.category_id))
    return outcomes


def _round(ms: float) -> float:
    """To two digits: a limit that can be said."""
    if ms <= 0:
        return 0.0
    step = 10.0 ** (floor(log10(ms)) - 1)
    return round(ms / step) * step


# ------------------------------------------------------------------------------------------------- sentences


def _told(a: Association, names: Mapping[str, str], unit: str) -> dict[str, Any]:
    category = names.get(a.outcome.category_id, "")
    return {
        "outcome": a.outcome.kind,
        "category_id": a.outcome.category_id,
        "category": category,
        "above_ms": a.outcome.above_ms if a.outcome.kind == "latency" else None,
        "trait": a.trait.kind,
        "name": a.trait.name,
        "value": a.trait.value,
        "sampled": a.sampled,
        "rate_with": a.rate_with,
        "rate_without": a.rate_without,
        "ratio": a.ratio,
        "ratio_low": a.low,
        "ratio_high": a.high,
        "p": a.p,
        "q": a.q,
        "sentence": sentence(a, category, unit),
    }


def sentence(a: Association, category: str, unit: str) -> str:
    """'Requests with a link fail 3.1 times as often as others (2.2 to 4.4): 31% against 10%.'

    Where hardly any of the one side do, only the nearer bound of the interval is told.
    """
    does = {
        "errors": "fail",
        "calls": "have a call that fails",
        "latency": f"take longer than {seconds(a.outcome.above_ms)},",
        "category": f"belong to “{category}”",
    }[a.outcome.kind]
    rates = f"{percent(a.rate_with)} against {percent(a.rate_without)}"
    if a.high > _BOUND:
        often = f"at least {times(a.low)} times as often as others"
    elif a.low < 1 / _BOUND:
        often = f"at most {times(a.high)} times as often as others"
    else:
        often = f"{times(a.ratio)} times as often as others ({times(a.low)} to {times(a.high)})"
    return f"{subject(a.trait, unit)} {does} {often}: {rates}."


def subject(trait: Trait, unit: str) -> str:
    units = f"{unit}s".capitalize()
    match trait.kind:
        case "request":
            return f"Requests {_request(trait.name, trait.value)}"
        case "tool":
            return f"{units} that use the tool {trait.value}"
        case "model":
            return f"{units} with the model {trait.value}"
        case "service":
            return f"{units} of the service {trait.value}"
        case "extracted" if trait.value.startswith("above "):
            return f"{units} with {trait.name} {trait.value}"
        case _:
            return f"{units} with {trait.name} = {trait.value}"


_WITH = {
    "attachment": "with an attachment",
    "code": "with code",
    "link": "with a link",
    "email": "with an e-mail address",
    "data": "with JSON or markup",
}


def _request(name: str, value: str) -> str:
    match name:
        case "longer than" | "shorter than":
            return f"{name} {int(value):,} characters"
        case "digits in a row":
            return f"with {value} digits or more in a row"
        case "lines":
            return f"of {value} lines or more"
        case "language":
            return f"in the language “{value}”"
        case "script":
            return f"in {value.capitalize()} letters"
        case _:
            return _WITH[value]


def percent(share: float) -> str:
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def times(ratio: float) -> str:
    """Two digits."""
    return f"{ratio:.2f}" if ratio < 0.995 else f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"


def seconds(ms: float) -> str:
    return f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.1f} s" if ms < 9950 else f"{ms / 1000:,.0f} s"
