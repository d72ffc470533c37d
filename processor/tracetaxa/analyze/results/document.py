"""The report document: the JSON that every rendering is made from."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.results.aggregate import design_of, with_verdict
from tracetaxa.analyze.results.prose import sound
from tracetaxa.analyze.results.sentences import key_points, most_frequent_reason, summary
from tracetaxa.analyze.statistics.estimate import mean, quantile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.analyze.findings.exemplars import Exemplar
    from tracetaxa.analyze.results.aggregate import CategoryResult, Labelled
    from tracetaxa.records import RunRow, Spend


TIMES = "tracetaxa.import.times"
"""Attribute of a trace that was imported: `made up` when its source had no times."""


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
            "made_up_times": sum(label.trace.row.attributes.get(TIMES) == "made up" for label in labelled),
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
    why = most_frequent_reason(labelled)
    quoted = (why.rstrip("."), run.error, *(value for entry in left_out for value in entry["kept"]))
    document["summary"] = " ".join(sound(summary(document, why), document, quoted))
    document["key_points"] = sound(key_points(document, why), document, quoted)
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
