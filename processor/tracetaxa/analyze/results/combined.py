"""A run's report once more, its shares combined with predictions for traces that nobody read.

What the sample says stays: examples, durations, findings, the quality card. Shares, numbers of traces, error
rates and costs of the categories become prediction-powered estimates, and the prose is written again from
them.
"""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.results.prose import sound
from tracetaxa.analyze.results.sentences import key_points, summary
from tracetaxa.analyze.statistics.precision import sentences as precision_sentences
from tracetaxa.analyze.statistics.prediction_powered import PoweredDesign, Values, Variable
from tracetaxa.records import OTHER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tracetaxa.analyze.results.aggregate import Labelled
    from tracetaxa.analyze.statistics.estimate import Estimate
    from tracetaxa.records import CategoryRow, Taxonomy

_LATER = {"unit": "trace", "findings": None}
"""Fields that reports of older versions lack; `left_out` too."""
METHOD = "prediction_powered"
Label = tuple[str, str]
"""Category and subcategory id."""


@dataclass(frozen=True, slots=True)
class Guessed:
    """A trace that is only predicted."""

    stratum: str
    labels: tuple[Label, ...]
    """By each of the classifiers that predict the sample too."""
    failed: bool
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class CombinedCategory:
    share: Estimate
    error_rate: Estimate
    cost: Estimate


@dataclass(frozen=True, slots=True)
class Combined:
    categories: Mapping[str, CombinedCategory]
    """By id, those of both levels."""
    population: float
    labelled: int
    predicted: int
    power: float
    """How much the predictions count: 0 not at all, 1 fully."""
    agreement: float
    """Share of the labelled traces whose category was predicted."""


def combine(
    labelled: Sequence[Labelled],
    predictions: Sequence[Label],
    others: Sequence[Guessed],
    taxonomy: Taxonomy,
    sizes: Mapping[str, float],
) -> Combined:
    """Estimates for the window. `predictions` are of the traces in `labelled`, which all have a verdict, by
    classifiers that did not learn from them; `sizes` is the population by stratum.

    Takes some seconds for tens of thousands of traces. Raises ValueError when nothing was labelled.
    """
    design = PoweredDesign([x.trace.stratum for x in labelled], [o.stratum for o in others], sizes)
    truth = [(x.assignment.category_id, x.assignment.subcategory_id) for x in labelled]
    ids = [c.category_id for c in taxonomy.categories]
    read = _by_category([(label,) for label in truth])
    guessed = _by_category([(label,) for label in predictions])
    rest = _by_category([other.labels for other in others])
    members = {c: Variable(read.get(c, {}), guessed.get(c, {}), rest.get(c, {})) for c in ids}
    power = design.power(members[c.category_id] for c in taxonomy.top)
    errors = ([x.failed for x in labelled], [o.failed for o in others])
    costs = ([x.trace.row.cost_usd or 0.0 for x in labelled], [o.cost_usd or 0.0 for o in others])
    return Combined(
        {
            name: CombinedCategory(
                design.share(variable, power),
                design.ratio(_times(variable, *errors), variable, power),
                design.total(_times(variable, *costs), power),
            )
            for name, variable in members.items()
        },
        design.population,
        len(labelled),
        len(others),
        power,
        sum(told[0] == guess[0] for told, guess in zip(truth, predictions, strict=True)) / len(truth),
    )


def _by_category(labels: Sequence[Sequence[Label]]) -> dict[str, dict[int, float]]:
    """Category id → number of a trace → the share of its labels that are in the category."""
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for i, of_trace in enumerate(labels):
        for category_id, hits in Counter(name for label in of_trace for name in label if name).items():
            found[category_id][i] = hits / len(of_trace)
    return found


def _times(members: Variable, labelled: Sequence[float], others: Sequence[float]) -> Variable:
    """What members have of something that is known of every trace."""

    def times(values: Values, known: Sequence[float]) -> Values:
        return {i: value * known[i] for i, value in values.items() if known[i]}

    return Variable(
        times(members.labels, labelled), times(members.predictions, labelled), times(members.others, others)
    )


def combined_rows(rows: Sequence[CategoryRow], combined: Combined) -> list[CategoryRow]:
    """Rows of `report_categories` with the combined numbers."""
    return [
        replace(
            row, **_numbers(row.traces, row.input_tokens, row.output_tokens, row.cost_usd, found, combined)
        )
        if (found := combined.categories.get(row.category_id))
        else row
        for row in rows
    ]


def combined_document(
    document: Mapping[str, Any], combined: Combined, classifier_version: str, why: str
) -> dict[str, Any]:
    """The report document with the combined numbers, and `estimates`, which says so. `why` is the most
    frequent reason of an abstention, as `sentences.most_frequent_reason` has it."""
    made: dict[str, Any] = _LATER | copy.deepcopy(dict(document))
    made["population"].setdefault("made_up_times", 0)
    made.setdefault("left_out", [])
    made["estimates"] = {
        "method": METHOD,
        "labelled": combined.labelled,
        "predicted": combined.predicted,
        "power": combined.power,
        "agreement": combined.agreement,
        "classifier_version": classifier_version,
    }
    for node in _nodes(made):
        found = combined.categories.get(node["category_id"])
        if found is not None:
            tokens = node["input_tokens"], node["output_tokens"]
            node |= _numbers(node["traces"], *tokens, node["cost_usd"], found, combined)
    for category in made["categories"]:
        category["subcategories"].sort(key=_by_share)
    made["categories"].sort(key=lambda c: (c["category_id"] == OTHER, *_by_share(c)))
    rest = combined.categories.get(OTHER)
    if rest and (made.get("quality") or {}).get("other"):
        share = rest.share
        made["quality"]["other"] = {"share": share.value, "share_low": share.low, "share_high": share.high}
    if made.get("precision"):  # a larger sample is not what these numbers would gain from
        known = made["precision"] | {"categories": []}
        made["precision"] = known | {"sentences": precision_sentences(known, made.get("unit", "trace"))}
    kept = (value for entry in made["left_out"] for value in entry["kept"])
    quoted = (why.rstrip("."), made["error"], *kept)
    made["summary"] = " ".join(sound(summary(made, why), made, quoted))
    made["key_points"] = sound(key_points(made, why), made, quoted)
    if made.get("precision"):
        made["precision"]["sentences"] = sound(made["precision"]["sentences"], made)
    return made


def _numbers(
    traces: int,
    input_tokens: int,
    output_tokens: int,
    cost_usd: float | None,
    found: CombinedCategory,
    combined: Combined,
) -> dict[str, Any]:
    """Tokens follow the number of traces; a cost that nobody knows stays unknown."""
    now = round(found.share.value * combined.population)
    scale = now / traces if traces else 1.0
    known = cost_usd is not None
    return {
        "traces": now,
        "share": found.share.value,
        "share_low": found.share.low,
        "share_high": found.share.high,
        "error_rate": found.error_rate.value,
        "error_rate_low": found.error_rate.low,
        "error_rate_high": found.error_rate.high,
        "input_tokens": round(input_tokens * scale),
        "output_tokens": round(output_tokens * scale),
        "cost_usd": found.cost.value if known else None,
        "cost_low": found.cost.low if known else None,
        "cost_high": found.cost.high if known else None,
    }


def _nodes(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for category in document["categories"]:
        yield category
        yield from category["subcategories"]


def _by_share(node: Mapping[str, Any]) -> tuple[float, str]:
    return -node["share"], node["category_id"]
