"""The report document: the JSON that every rendering is made from, and the prose drawn from its numbers.

Every sentence is written from the numbers of the same document, so prose and table cannot disagree.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.aggregate import design_of, with_verdict
from tracetaxa.analyze.estimate import mean, quantile
from tracetaxa.analyze.prose import sound
from tracetaxa.records import OTHER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.analyze.aggregate import CategoryResult, Labelled
    from tracetaxa.analyze.exemplars import Exemplar
    from tracetaxa.records import RunRow, Spend

SOLID = 5
"""A category needs this many labelled traces (or sessions) before a key point is made of its rates."""
TRUSTED = 0.8
"""Agreement of two readings that is surely below this is a key point."""
FINDINGS = 3
"""Findings that are key points."""
REASON_CHARS = 160
"""Of an abstention's reason, what is quoted."""


def rfc3339(time_ns: int) -> str:
    """'2026-11-22T10:00:00Z', with the fraction only when there is one."""
    seconds, fraction = divmod(time_ns, 10**9)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{fraction:09d}".rstrip("0") + "Z" if fraction else f"{text}Z"


def build_document(
    run: RunRow,
    instructions: str,
    taxonomy_version: int,
    results: Sequence[CategoryResult],
    labelled: Sequence[Labelled],
    spend: Spend,
    created_at_ns: int,
    *,
    strata: Mapping[str, float],
    unit: str = "trace",
    prices: str = "",
    quality: Mapping[str, Any] | None = None,
    findings: Mapping[str, Any] | None = None,
    precision: Mapping[str, Any] | None = None,
    left_out: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Shapes are in docs/report.md; a golden test holds them.

    `strata` are the selected traces by stratum of the sample.
    `unit` is what was counted (trace, session), `prices` says where the prices of tokens are from, `quality`
    is the card of quality.py, `findings` and `precision` are what findings.py and precision.py say. A
    sentence whose numbers are not those of the document is left out of it, and logged.
    """
    document: dict[str, Any] = {
        "run_id": run.run_id,
        "analysis": run.analysis,
        "unit": unit,
        "title": instructions,
        "instructions": instructions,
        "status": run.status,
        "error": run.error,
        "engine": run.engine,
        "models": list(run.models),
        "taxonomy_version": taxonomy_version,
        "window_start": rfc3339(run.window_start_ns),
        "window_end": rfc3339(run.window_end_ns),
        "created_at": rfc3339(created_at_ns),
        "population": {
            "selected": run.traces_selected,
            "sampled": run.traces_sampled,
            "labelled": run.traces_labelled,
            "abstained": run.traces_abstained,
            "copied": sum(bool(label.copied_from) for label in labelled),
            "still_open": run.still_open,
        },
        "sample": _sample(run, strata, labelled),
        "spend": {
            "calls": spend.calls,
            "cached_calls": spend.cached_calls,
            "input_tokens": run.input_tokens,
            "cached_input_tokens": spend.cached_tokens,
            "output_tokens": run.output_tokens,
            "cost_usd": run.cost_usd,
        },
        "totals": _totals(run, with_verdict(labelled), strata),
        "prices": prices,
        "categories": [_category(result, unit) for result in results],
        "left_out": [dict(entry) for entry in left_out],
        **({"quality": dict(quality)} if quality is not None else {}),
        "findings": dict(findings) if findings is not None else None,
        "precision": dict(precision) if precision is not None else None,
    }
    why = _most_frequent_reason(labelled)
    quoted = (why.rstrip("."), run.error, *(value for entry in left_out for value in entry["kept"]))
    document["summary"] = " ".join(sound(_summary(document, why), document, quoted))
    document["key_points"] = sound(_key_points(document, why), document, quoted)
    if document["findings"]:
        told = document["findings"]["associations"]
        document["findings"]["associations"] = [f for f in told if sound([f["sentence"]], document)]
    if document["precision"]:
        document["precision"]["sentences"] = sound(document["precision"]["sentences"], document)
    return document


def _sample(run: RunRow, strata: Mapping[str, float], labelled: Sequence[Labelled]) -> dict[str, Any]:
    """What was asked of the sample, for whoever makes the run again; null where the run was not told."""
    asked = json.loads(run.config).get("sample", {})
    drawn = Counter(label.trace.stratum for label in labelled)
    return {
        "size": asked.get("size"),
        "seed": asked.get("seed"),
        "strategy": asked.get("strategy"),
        "strata": [
            {"name": name, "selected": round(size), "labelled": drawn[name]} for name, size in strata.items()
        ],
    }


def _totals(run: RunRow, labelled: Sequence[Labelled], strata: Mapping[str, float]) -> dict[str, Any]:
    """Estimates from those with a verdict, like those of the categories; all null without any."""
    if not labelled:
        names = ("error_rate", "p50_ms", "p95_ms", "input_tokens", "output_tokens", "cost_usd")
        return dict.fromkeys(names)
    weights = design_of(labelled, strata).weights
    rows = [label.trace.row for label in labelled]
    durations = [row.duration_ms for row in rows]
    known = [(row.cost_usd, w) for row, w in zip(rows, weights, strict=True) if row.cost_usd is not None]
    return {
        "error_rate": mean([float(label.failed) for label in labelled], weights),
        "p50_ms": quantile(durations, weights, 0.5),
        "p95_ms": quantile(durations, weights, 0.95),
        "input_tokens": round(mean([row.input_tokens for row in rows], weights) * run.traces_selected),
        "output_tokens": round(mean([row.output_tokens for row in rows], weights) * run.traces_selected),
        "cost_usd": sum(cost * w for cost, w in known) if known else None,
    }


def _category(result: CategoryResult, unit: str) -> dict[str, Any]:
    row = result.row
    found: dict[str, Any] = {
        "category_id": row.category_id,
        "parent_id": row.parent_id,
        "level": row.level,
        "name": row.name,
        "description": result.category.description,
        "traces": row.traces,
        "sampled": row.sampled,
        "share": row.share,
        "share_low": row.share_low,
        "share_high": row.share_high,
        "error_rate": row.error_rate,
        "error_rate_low": row.error_rate_low,
        "error_rate_high": row.error_rate_high,
        "p50_ms": row.p50_ms,
        "p95_ms": row.p95_ms,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "cost_usd": row.cost_usd,
        "cost_low": row.cost_low,
        "cost_high": row.cost_high,
        "feedback": dict(row.feedback),
        "tools": [{"name": name, "share": share} for name, share in result.tools],
        "attributes": {name: dict(values) for name, values in result.attributes.items()},
        "examples": [_example(exemplar, unit) for exemplar in result.examples],
    }
    if row.level == 1:
        found["subcategories"] = [_category(child, unit) for child in result.subcategories]
    return found


def _example(exemplar: Exemplar, unit: str) -> dict[str, Any]:
    row, verdict = exemplar.label.trace.row, exemplar.label.assignment
    session = {"session_id": row.session_id} if unit == "session" else {}
    return session | {
        "trace_id": row.trace_id,
        "category_id": verdict.category_id,
        "subcategory_id": verdict.subcategory_id,
        "input": row.input,
        "output": row.output,
        "evidence": verdict.evidence,
        "evidence_span_id": verdict.evidence_span_id,
        "reason": verdict.reason,
        "confidence": verdict.confidence,
        "status": row.status,
        "duration_ms": row.duration_ms,
        "shown_for": [asdict(shown) for shown in exemplar.shown],
    }


def _percent(share: float) -> str:
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def _interval(category: dict[str, Any], name: str) -> str:
    low, high = category[f"{name}_low"], category[f"{name}_high"]
    return "" if low == high else f" (95% interval {_percent(low)} to {_percent(high)})"


def _most_frequent_reason(labelled: Sequence[Labelled]) -> str:
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


def _summary(document: dict[str, Any], why: str) -> list[str]:
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


def _key_points(document: dict[str, Any], why: str) -> list[str]:
    categories, totals, units = document["categories"], document["totals"], f"{document['unit']}s"
    kinds = [c for c in categories if c["category_id"] != OTHER]
    points = [f"{c['name']}: {_percent(c['share'])} of {units}{_interval(c, 'share')}." for c in kinds[:3]]
    points += _outliers(kinds, totals, units)
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


def _outliers(kinds: list[dict[str, Any]], totals: dict[str, Any], units: str) -> list[str]:
    subs = [(sub, c) for c in kinds for sub in c["subcategories"] if sub["sampled"] >= SOLID]
    points = []
    failing = [(sub, c) for sub, c in subs if sub["error_rate_low"] > totals["error_rate"]]
    for sub, parent in sorted(failing, key=lambda pair: -pair[0]["error_rate"] * pair[0]["traces"])[:2]:
        points.append(
            f"{parent['name']} › {sub['name']} fails in {_percent(sub['error_rate'])}"
            f"{_interval(sub, 'error_rate')} of its {sub['traces']:,} {units}."
        )
    slow = [(sub, c) for sub, c in subs if totals["p50_ms"] and sub["p50_ms"] > 2 * totals["p50_ms"]]
    for sub, parent in sorted(slow, key=lambda pair: -pair[0]["p50_ms"])[:1]:
        points.append(
            f"{parent['name']} › {sub['name']} is slow: half of its {units} take longer than "
            f"{sub['p50_ms'] / 1000:.1f} s, against {totals['p50_ms'] / 1000:.1f} s overall."
        )
    return points
