"""The prose of a report: its summary and key points.

Every sentence is written from the numbers of the document it stands in, so prose and table cannot disagree.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from tracetaxa.records import OTHER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.analyze.results.aggregate import Labelled

SOLID = 5
"""A category needs this many labelled traces (or sessions) before a key point is made of its rates."""
TRUSTED = 0.8
"""Agreement of two readings that is surely below this is a key point."""
FINDINGS = 3
"""Findings that are key points."""
REASON_CHARS = 160
"""Of an abstention's reason, what is quoted."""


def _percent(share: float) -> str:
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def _interval(category: dict[str, Any], name: str) -> str:
    low, high = category[f"{name}_low"], category[f"{name}_high"]
    return "" if low == high else f" (95% interval {_percent(low)} to {_percent(high)})"


def most_frequent_reason(labelled: Sequence[Labelled]) -> str:
    """Why some got no verdict; empty when all have one, or no engine said why."""
    said = (" ".join(x.assignment.reason.split()) for x in labelled if x.assignment.abstained)
    counts = Counter(reason for reason in said if reason)
    if not counts:
        return ""
    reason = min(counts, key=lambda text: (-counts[text], text))
    return reason if len(reason) <= REASON_CHARS else f"{reason[: REASON_CHARS - 1].rstrip()}…"


def _unlabelled(document: dict[str, Any], why: str) -> list[str]:
    """What became of those of the sample that no number rests on."""
    population, units = document["population"], f"{document['unit']}s"
    sampled, missing = population["sampled"], population["sampled"] - population["labelled"]
    sentences = []
    if population["abstained"]:
        often = f"; most often: {why.rstrip('.')}" if why else ""
        sentences.append(
            f"{population['abstained']:,} of {sampled:,} sampled {units} could not be labelled{often}."
        )
    if missing > 0:
        sentences.append(
            f"{missing:,} of {sampled:,} sampled {units} were not labelled before the run ended."
        )
    return sentences


def _estimated(document: dict[str, Any]) -> list[str]:
    """What the shares rest on beside the sample."""
    estimates = document.get("estimates")
    if not estimates:
        return []
    predicted, unit = estimates["predicted"], document["unit"]
    others = f"{predicted:,} other {unit if predicted == 1 else f'{unit}s'}"
    return [f"Shares also use predictions for {others}, corrected by what was read."]


def summary(document: dict[str, Any], why: str) -> list[str]:
    population, categories = document["population"], document["categories"]
    unit, selected = document["unit"], population["selected"]
    if not selected:
        return [f"No closed {unit} matched this window and these filters, so there is nothing to report."]
    unlabelled = _unlabelled(document, why)
    if not categories:
        none = f"{selected:,} {unit if selected == 1 else f'{unit}s'} matched, and none was labelled."
        rest = unlabelled if population["abstained"] else [document["error"]]
        return [none, *filter(None, rest)]
    kinds = [c for c in categories if c["category_id"] != OTHER]
    verdicts = population["labelled"] - population["abstained"]
    if verdicts == selected:
        base = f"All {selected:,} {unit}s were read"
    elif unlabelled:
        base = f"{verdicts:,} of {selected:,} {unit}s were labelled"
    else:
        base = f"{verdicts:,} of {selected:,} {unit}s were read"
    if not kinds:
        return [f"{base}; they show no separable kinds of behaviour.", *unlabelled]
    top = kinds[0]
    sentences = [
        f"{base} and fall into {len(kinds)} {'category' if len(kinds) == 1 else 'categories'}.",
        *unlabelled,
        *_estimated(document),
        f"The largest is {top['name']}, with {_percent(top['share'])} of {unit}s{_interval(top, 'share')}.",
    ]
    solid = [c for c in kinds if c["sampled"] >= SOLID]
    if solid:
        worst = max(solid, key=lambda c: c["error_rate"])
        if worst["error_rate"] > document["totals"]["error_rate"]:
            sentences.append(
                f"Errors are most frequent in {worst['name']}: {_percent(worst['error_rate'])}, "
                f"against {_percent(document['totals']['error_rate'])} overall."
            )
    return sentences


def key_points(document: dict[str, Any], why: str) -> list[str]:
    categories, totals, units = document["categories"], document["totals"], f"{document['unit']}s"
    kinds = [c for c in categories if c["category_id"] != OTHER]
    points = [f"{c['name']}: {_percent(c['share'])} of {units}{_interval(c, 'share')}." for c in kinds[:3]]
    points += _outliers(kinds, totals, units, timed=not document["population"]["made_up_times"])
    points += _findings(document)
    rest = next((c for c in categories if c["category_id"] == OTHER), None)
    if rest and rest["share"] >= 0.1:
        points.append(f"{_percent(rest['share'])} of {units} fit no category.")
    points += [
        f"{_percent(entry['share'])} of {units}{_interval(entry, 'share')} are left out of the categories: "
        f"{entry['attribute']} is not {' or '.join(entry['kept'])}."
        for entry in document["left_out"]
    ]
    points += _unlabelled(document, why)
    points += _doubts(document, units)
    if made_up := document["population"]["made_up_times"]:
        points.append(f"{made_up:,} {units} were imported without times: their durations mean nothing.")
    if document["population"]["still_open"]:
        still_open = f"{document['population']['still_open']:,} {units}"
        points.append(f"{still_open} were still open and are not counted.")
    return points


def _findings(document: dict[str, Any]) -> list[str]:
    """The first about errors, failing calls and long waits; then who asked what, how."""
    found = (document["findings"] or {}).get("associations", [])
    rates = [f for f in found if f["outcome"] != "category" and f["ratio"] > 1]
    first = list({f["outcome"]: f for f in reversed(rates)}.values())[::-1]
    cohorts = [f for f in found if f["outcome"] == "category" and f["trait"] in ("request", "attribute")]
    return [finding["sentence"] for finding in [*first, *cohorts][:FINDINGS]]


def _doubts(document: dict[str, Any], units: str) -> list[str]:
    """Said where two readings surely differ too often to take the shares at face value."""
    agreement = (document.get("quality") or {}).get("agreement")
    if not agreement or agreement["category"]["share_high"] >= TRUSTED:
        return []
    category = agreement["category"]
    same = f"{_percent(category['share'])}{_interval(category, 'share')}"
    return [f"Read twice, only {same} of {category['compared']:,} {units} got the same category again."]


def _outliers(kinds: list[dict[str, Any]], totals: dict[str, Any], units: str, *, timed: bool) -> list[str]:
    subs = [(sub, c) for c in kinds for sub in c["subcategories"] if sub["sampled"] >= SOLID]
    points = []
    failing = [(sub, c) for sub, c in subs if sub["error_rate_low"] > totals["error_rate"]]
    for sub, parent in sorted(failing, key=lambda pair: -pair[0]["error_rate"] * pair[0]["traces"])[:2]:
        points.append(
            f"{parent['name']} › {sub['name']} fails in {_percent(sub['error_rate'])}"
            f"{_interval(sub, 'error_rate')} of its {sub['traces']:,} {units}."
        )
    median = totals["p50_ms"] if timed else None
    slow = [(sub, c) for sub, c in subs if median and sub["p50_ms"] > 2 * median]
    for sub, parent in sorted(slow, key=lambda pair: -pair[0]["p50_ms"])[:1]:
        points.append(
            f"{parent['name']} › {sub['name']} is slow: half of its {units} take longer than "
            f"{sub['p50_ms'] / 1000:.1f} s, against {totals['p50_ms'] / 1000:.1f} s overall."
        )
    return points
