"""The quality card of a report: how much its labels can be trusted, and what is not known of that.

What can't be told is null, with the reason in `missing`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.audit import Audit, label_of
from tracetaxa.analyze.results.aggregate import design_of, with_verdict
from tracetaxa.analyze.results.truth import Truth, beside_people
from tracetaxa.analyze.stability import Stability
from tracetaxa.analyze.statistics.agreement import agreement
from tracetaxa.analyze.statistics.estimate import proportion
from tracetaxa.records import OTHER, Spend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.analyze.results.aggregate import Labelled

BINS = 5
"""Of stated confidence, in which calibration is shown."""
CONFUSED = 3
"""Pairs of categories told of that the two readings disagree on most."""
REASONS = 5
"""Reasons of abstentions told of; the rarest beyond are joined."""
_REASON_CHARS = 160

NOT_AUDITED = "this run ended before the audit"
NOT_COMPARED = "not asked for (analyze --stability)"


@dataclass(frozen=True, slots=True)
class Checks:
    """What a run has found out about its own labels."""

    audit: Audit = field(default_factory=lambda: Audit(absent=NOT_AUDITED))
    stability: Stability = field(default_factory=lambda: Stability(absent=NOT_COMPARED))
    stated: Mapping[str, float] = field(default_factory=dict)
    """Trace id → the confidence that the engine stated, before any calibration."""
    prices_known: bool = True
    people: Truth = field(default_factory=Truth)


def quality_card(checks: Checks, labelled: Sequence[Labelled], strata: Mapping[str, float]) -> dict[str, Any]:
    """`quality` of the report document (docs/report.md); `labelled` as they were saved, calibrated or not."""
    audit, stability = checks.audit, checks.stability
    absent = {
        "agreement": audit.absent,
        "calibration": audit.absent,
        "stability": stability.absent,
        "other": "" if with_verdict(labelled) else "nothing was labelled",
    }
    return {
        "agreement": None if audit.absent else _agreement(audit),
        "calibration": None if audit.absent else _calibration(checks, labelled),
        "stability": None if stability.absent else _stability(stability),
        "other": _other(labelled, strata),
        "people": beside_people(checks.people, labelled) if checks.people.labels else None,
        "abstentions": _abstentions(labelled),
        "spend": {
            "audit": _spend(audit.spend, checks.prices_known),
            "stability": _spend(stability.spend, checks.prices_known),
        },
        "missing": {name: why for name, why in absent.items() if why},
    }


def _agreement(audit: Audit) -> dict[str, Any]:
    compared = [(r.first.assignment, r.second) for r in audit.compared]
    categories = agreement([(a.category_id, b.category_id) for a, b in compared])
    labels = agreement([(label_of(a), label_of(b)) for a, b in compared])
    confused = Counter(
        tuple(sorted((a.category_id, b.category_id))) for a, b in compared if a.category_id != b.category_id
    )
    ranked = sorted(confused.items(), key=lambda item: (-item[1], item[0]))
    return {
        "asked": len(audit.readings),
        "compared": len(compared),
        "category": asdict(categories) if categories else None,
        "label": asdict(labels) if labels else None,
        "confused": [{"category_ids": list(pair), "traces": n} for pair, n in ranked[:CONFUSED]],
    }


def _calibration(checks: Checks, labelled: Sequence[Labelled]) -> dict[str, Any]:
    """Means over all with a verdict, and over bins of them with (nearly) as many each, least sure first."""
    verdicts = [x for x in with_verdict(labelled) if x.trace.row.trace_id in checks.stated]
    verdicts.sort(key=lambda x: (checks.stated[x.trace.row.trace_id], x.trace.row.trace_id))
    agreed = {
        r.second.trace_id: label_of(r.first.assignment) == label_of(r.second) for r in checks.audit.compared
    }

    def means(part: Sequence[Labelled]) -> dict[str, Any]:
        ids = [x.trace.row.trace_id for x in part]
        outcomes = [agreed[i] for i in ids if i in agreed]
        return {
            "traces": len(part),
            "stated": sum(checks.stated[i] for i in ids) / len(ids),
            "calibrated": sum(x.assignment.confidence for x in part) / len(ids),
            "audited": len(outcomes),
            "agreed": sum(outcomes) / len(outcomes) if outcomes else None,
        }

    edges = [len(verdicts) * number // BINS for number in range(BINS + 1)]
    bins = [verdicts[low:high] for low, high in pairwise(edges) if low < high]
    return {**means(verdicts), "bins": [means(part) for part in bins]}


def _stability(stability: Stability) -> dict[str, Any]:
    return {
        "compared": stability.compared,
        "halves": [asdict(half) for half in stability.halves],
        "category": asdict(stability.category) if stability.category else None,
        "label": asdict(stability.label) if stability.label else None,
        "categories": [
            {"category_id": name, "overlap": overlap} for name, overlap in stability.overlap.items()
        ],
    }


def _other(labelled: Sequence[Labelled], strata: Mapping[str, float]) -> dict[str, float] | None:
    """Estimated share of the window that fits no category."""
    verdicts = with_verdict(labelled)
    if not verdicts:
        return None
    share = proportion([x.assignment.category_id == OTHER for x in verdicts], design_of(verdicts, strata))
    return {"share": share.value, "share_low": share.low, "share_high": share.high}


def _abstentions(labelled: Sequence[Labelled]) -> list[dict[str, Any]]:
    reasons = Counter(
        " ".join(x.assignment.reason.split())[:_REASON_CHARS] or "no reason given"
        for x in labelled
        if x.assignment.abstained
    )
    ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    shown = [{"reason": reason, "traces": n} for reason, n in ranked[:REASONS]]
    rest = sum(n for _, n in ranked[REASONS:])
    return [*shown, {"reason": "other reasons", "traces": rest}] if rest else shown


def _spend(spend: Spend, prices_known: bool) -> dict[str, Any]:
    return {
        "calls": spend.calls,
        "cached_calls": spend.cached_calls,
        "input_tokens": spend.input_tokens,
        "output_tokens": spend.output_tokens,
        "cost_usd": spend.cost_usd if prices_known else None,
    }
