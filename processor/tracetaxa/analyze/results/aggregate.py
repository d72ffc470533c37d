"""Labels of a sample → estimates per category for the whole window."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa.analyze.findings.exemplars import Exemplar, exemplars
from tracetaxa.analyze.statistics.estimate import Design, mean, proportion, quantile, total
from tracetaxa.records import OTHER, Assignment, Category, CategoryRow, SampledTrace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.records import Taxonomy


@dataclass(frozen=True, slots=True)
class Labelled:
    """A sampled trace with its verdict."""

    trace: SampledTrace
    assignment: Assignment
    copied_from: str = ""
    """Trace id of the near-duplicate that was read in its place; see thinning.py."""

    @property
    def failed(self) -> bool:
        return self.trace.row.status == "Error"


@dataclass(frozen=True, slots=True)
class CategoryResult:
    """One category's numbers, what its traces have in common, and its subcategories."""

    category: Category
    row: CategoryRow
    tools: tuple[tuple[str, float], ...]
    """(tool, weighted share of the category's traces that used it), most used first."""
    attributes: Mapping[str, Mapping[str, float]]
    """Extracted attribute → value → weighted share of the category's traces."""
    examples: tuple[Exemplar, ...]
    subcategories: tuple[CategoryResult, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """What the rows of one run have in common."""

    run_id: str
    analysis: str
    window_start_ns: int
    window_end_ns: int
    strata: Mapping[str, float]
    """Selected traces by stratum: the estimates are for these."""


def with_verdict(labelled: Sequence[Labelled]) -> list[Labelled]:
    """The traces that an engine decided on: what every estimate rests on."""
    return [label for label in labelled if not label.assignment.abstained]


def aggregate(labelled: Sequence[Labelled], taxonomy: Taxonomy, frame: Frame) -> list[CategoryResult]:
    """Results per top-level category, largest share first and `other` last; empty categories are left out.

    Abstentions say nothing about any category: the traces with a verdict stand for all, and `other` holds
    only those that were found to fit nothing. Shares of subcategories are of the whole window too.
    """
    labelled = with_verdict(labelled)
    design = design_of(labelled, frame.strata)
    results = []
    for category in taxonomy.top:
        inside = [label.assignment.category_id == category.category_id for label in labelled]
        if any(inside):
            children = _subcategories(category, labelled, design, taxonomy, frame)
            results.append(_result(category, labelled, design, inside, frame, children))
    return sorted(results, key=lambda r: (r.category.category_id == OTHER, *_by_share(r)))


def design_of(labelled: Sequence[Labelled], strata: Mapping[str, float]) -> Design:
    """How these traces stand for the selected ones. Without verdicts nothing stands for anything."""
    return Design(tuple(label.trace.stratum for label in labelled), strata)


def _subcategories(
    parent: Category, labelled: Sequence[Labelled], design: Design, taxonomy: Taxonomy, frame: Frame
) -> tuple[CategoryResult, ...]:
    results = []
    for category in taxonomy.children(parent.category_id):
        inside = [label.assignment.subcategory_id == category.category_id for label in labelled]
        if any(inside):
            results.append(_result(category, labelled, design, inside, frame, ()))
    return tuple(sorted(results, key=_by_share))


def _by_share(result: CategoryResult) -> tuple[float, str]:
    return -result.row.share, result.category.category_id


def _result(
    category: Category,
    labelled: Sequence[Labelled],
    design: Design,
    inside: Sequence[bool],
    frame: Frame,
    subcategories: tuple[CategoryResult, ...],
) -> CategoryResult:
    members = [label for label, is_in in zip(labelled, inside, strict=True) if is_in]
    member_weights = design.only(inside)
    share = proportion(inside, design)
    size = share.value * design.population
    errors = proportion([label.failed for label in labelled], design, inside)
    rows = [label.trace.row for label in members]
    costs = [
        (label.trace.row.cost_usd or 0.0) if is_in else 0.0
        for label, is_in in zip(labelled, inside, strict=True)
    ]
    cost_known = any(row.cost_usd is not None for row in rows)
    cost = total(costs, design)
    tokens_in = mean([row.input_tokens for row in rows], member_weights) * size
    tokens_out = mean([row.output_tokens for row in rows], member_weights) * size
    durations = [row.duration_ms for row in rows]
    row = CategoryRow(
        run_id=frame.run_id,
        analysis=frame.analysis,
        window_start_ns=frame.window_start_ns,
        window_end_ns=frame.window_end_ns,
        category_id=category.category_id,
        parent_id=category.parent_id,
        level=category.level,
        name=category.name,
        traces=round(size),
        sampled=len(members),
        share=share.value,
        share_low=share.low,
        share_high=share.high,
        error_rate=errors.value,
        error_rate_low=errors.low,
        error_rate_high=errors.high,
        p50_ms=quantile(durations, member_weights, 0.5),
        p95_ms=quantile(durations, member_weights, 0.95),
        input_tokens=round(tokens_in),
        output_tokens=round(tokens_out),
        cost_usd=cost.value if cost_known else None,
        cost_low=cost.low if cost_known else None,
        cost_high=cost.high if cost_known else None,
        feedback=_feedback(members, member_weights),
    )
    return CategoryResult(
        category,
        row,
        _tools(members, member_weights),
        _attributes(members, member_weights),
        exemplars(members, member_weights),
        subcategories,
    )


def _feedback(members: Sequence[Labelled], weights: Sequence[float]) -> dict[str, float]:
    scores: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for label, weight in zip(members, weights, strict=True):
        for name, score in label.trace.row.feedback.items():
            scores[name].append((score, weight))
    return {name: mean(*zip(*pairs, strict=True)) for name, pairs in sorted(scores.items())}


def _tools(members: Sequence[Labelled], weights: Sequence[float]) -> tuple[tuple[str, float], ...]:
    used: dict[str, float] = defaultdict(float)
    for label, weight in zip(members, weights, strict=True):
        for tool in set(label.trace.row.tools):
            used[tool] += weight
    whole = sum(weights)
    ranked = sorted(used.items(), key=lambda item: (-item[1], item[0]))
    return tuple((tool, weight / whole) for tool, weight in ranked)


def _attributes(members: Sequence[Labelled], weights: Sequence[float]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    whole: dict[str, float] = defaultdict(float)
    for label, weight in zip(members, weights, strict=True):
        for name, value in label.assignment.attributes.items():
            found[name][value] += weight
            whole[name] += weight
    return {
        name: {
            value: weight / whole[name]
            for value, weight in sorted(values.items(), key=lambda item: (-item[1], item[0]))
        }
        for name, values in sorted(found.items())
    }
