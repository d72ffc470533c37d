"""The quality card: how far the labels of a report can be trusted, in lines that every rendering shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired, TypedDict

from tracetaxa.records import OTHER
from tracetaxa.report import format as fmt
from tracetaxa.report.document import units, walk
from tracetaxa.report.plain import one_line
from tracetaxa.report.quote import clip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.report.document import Document

_WEAK = 0.75
"""Overlap of a category with its like in half samples below which it is named (Hennig 2007)."""
_NAMED = 3
_NAME_CHARS = 32
_REASON_CHARS = 120


class Compared(TypedDict):
    compared: int
    agreed: int
    share: float
    share_low: float
    share_high: float
    kappa: float | None
    alpha: float | None


class Confused(TypedDict):
    category_ids: list[str]
    traces: int


class AgreementFound(TypedDict):
    asked: int
    compared: int
    category: Compared
    label: Compared
    confused: list[Confused]


class Bin(TypedDict):
    traces: int
    stated: float
    calibrated: float
    audited: int
    agreed: float | None


class CalibrationFound(Bin):
    bins: list[Bin]


class Likeness(TypedDict):
    ami: float
    ari: float


class Half(TypedDict):
    traces: int
    categories: int


class Overlap(TypedDict):
    category_id: str
    overlap: float


class StabilityFound(TypedDict):
    compared: int
    halves: list[Half]
    category: Likeness
    label: Likeness
    categories: list[Overlap]


class OtherShare(TypedDict):
    share: float
    share_low: float
    share_high: float


class Mistaken(TypedDict):
    category_id: str
    people_category_id: str
    traces: int


class Gone(TypedDict):
    category: str
    traces: int


class PeopleFound(TypedDict):
    labelled: int
    compared: int
    category: Compared | None
    label: Compared | None
    confused: list[Mistaken]
    without_verdict: int
    gone: list[Gone]


class Abstention(TypedDict):
    reason: str
    traces: int


class CheckSpend(TypedDict):
    calls: int
    cached_calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


class Quality(TypedDict):
    """What can't be told is null, with the reason in `missing` under its name."""

    agreement: AgreementFound | None
    calibration: CalibrationFound | None
    stability: StabilityFound | None
    other: OtherShare | None
    people: NotRequired[PeopleFound | None]
    """Missing in older reports."""
    abstentions: list[Abstention]
    spend: dict[str, CheckSpend]
    missing: dict[str, str]


def quality_rows(report: Document) -> list[tuple[str, str]]:
    """(name, sentence) of everything on the card; empty for a report that has none, or no labels."""
    quality = report.get("quality")
    if quality is None or not report["categories"]:
        return []
    agreement, calibration = quality["agreement"], quality["calibration"]
    people = quality.get("people")
    rows = [
        ("people", _people(report, people) if people else ""),
        ("agreement", _agreement(report, agreement) if agreement else _absent(quality, "agreement")),
        ("confused", _confused(report, agreement) if agreement else ""),
        ("confidence", _confidence(calibration) if calibration else ""),
        ("stability", _stability(report, quality)),
        ("left over", _left_over(quality)),
        ("checks cost", _cost(quality)),
    ]
    return [(name, text) for name, text in rows if text]


def _agreement(report: Document, found: AgreementFound) -> str:
    top, label = found["category"], found["label"]
    read = f"{fmt.count(found['compared'])} {units(report)} read twice"
    said = f"{_share(top)} of {read} got the same category{_kappa(top)}"
    if label["agreed"] != top["agreed"]:
        said += f", {_share(label)} the same subcategory{_kappa(label)}"
    return f"{said}. It is agreement of a model with itself, not truth."


def _share(found: Compared) -> str:
    return f"{fmt.percent(found['share'])} ({fmt.interval(found['share_low'], found['share_high'])})"


def _kappa(found: Compared) -> str:
    return "" if found["kappa"] is None else f" (kappa {fmt.score(found['kappa'])})"


def _confused(report: Document, found: AgreementFound) -> str:
    return ", ".join(
        f"{' ↔ '.join(_names(report, pair['category_ids']))}: {fmt.count(pair['traces'])}"
        for pair in found["confused"]
    )


def _people(report: Document, found: PeopleFound) -> str:
    """Beside labels by people; a category that they used and that is no longer there is told of."""
    top, label = found["category"], found["label"]
    parts = []
    if top is not None:
        said = f"{_share(top)} of {fmt.count(found['compared'])} {units(report)} that people labelled"
        said += f" got the same category{_kappa(top)}"
        if label is not None:
            said += f", {_share(label)} of {fmt.count(label['compared'])} the same subcategory{_kappa(label)}"
        parts.append(said)
        wrong = [
            f"{_names(report, [pair['category_id']])[0]} where people say "
            f"{_names(report, [pair['people_category_id']])[0]}: {fmt.count(pair['traces'])}"
            for pair in found["confused"]
        ]
        parts += [", ".join(wrong)] if wrong else []
    if found["without_verdict"]:
        parts.append(f"{fmt.count(found['without_verdict'])} that people labelled got no verdict")
    if found["gone"]:
        names = ", ".join(
            f"{clip(one_line(gone['category']), _NAME_CHARS)}: {fmt.count(gone['traces'])}"
            for gone in found["gone"][:_NAMED]
        )
        more = f" and {len(found['gone']) - _NAMED} more" if len(found["gone"]) > _NAMED else ""
        parts.append(f"people used categories that this taxonomy does not have ({names}{more})")
    return "; ".join(parts)


def _confidence(found: CalibrationFound) -> str:
    said = f"{_told(found)} on average: about the share of the labels that is right"
    first, last = found["bins"][0], found["bins"][-1]
    if first is last:
        return said
    return f"{said}. The least sure fifth has {_told(first)}, the surest {_told(last)}."


def _told(found: Bin) -> str:
    return f"{fmt.score(found['calibrated'])} (stated as {fmt.score(found['stated'])})"


def _stability(report: Document, quality: Quality) -> str:
    found = quality["stability"]
    if found is None:
        return _absent(quality, "stability")
    category, label = found["category"], found["label"]
    said = f"AMI {fmt.score(category['ami'])}, ARI {fmt.score(category['ari'])} between two half samples"
    if label != category:
        said += f", subcategories {fmt.score(label['ami'])}, {fmt.score(label['ari'])}"
    said += " (1: the same, 0: chance)"
    weak = [o for o in found["categories"] if o["overlap"] < _WEAK and o["category_id"] != OTHER]
    if weak:
        weak.sort(key=lambda o: o["overlap"])
        names = _names(report, [o["category_id"] for o in weak[:_NAMED]])
        said += f"; least stable: {', '.join(names)}"
        said += f" and {len(weak) - _NAMED} more" if len(weak) > _NAMED else ""
    return said


def _left_over(quality: Quality) -> str:
    """What fits no category, and what got no verdict."""
    other, abstained = quality["other"], quality["abstentions"]
    parts = []
    if other is not None:
        within = fmt.interval(other["share_low"], other["share_high"])
        parts.append(f"{fmt.percent(other['share'])} ({within}) fit no category")
    if abstained:
        reasons = ", ".join(f"{clip(one_line(a['reason']), _REASON_CHARS)}: {a['traces']}" for a in abstained)
        parts.append(f"{fmt.count(sum(a['traces'] for a in abstained))} without a verdict ({reasons})")
    return "; ".join(parts)


_CHECKS = {"audit": "second reading", "stability": "half samples"}


def _cost(quality: Quality) -> str:
    """What the checks add to the run's cost."""
    parts = []
    for name, spend in quality["spend"].items():
        if spend["calls"] or spend["cached_calls"]:
            calls = f"{fmt.count(spend['calls'])} call{'' if spend['calls'] == 1 else 's'}"
            cached = f", {fmt.count(spend['cached_calls'])} cached" if spend["cached_calls"] else ""
            parts.append(f"{_CHECKS.get(name, name)} {fmt.cost(spend['cost_usd'])} ({calls}{cached})")
    return ", ".join(parts)


def _absent(quality: Quality, name: str) -> str:
    why = one_line(quality["missing"].get(name, ""))
    return f"not measured: {why}" if why else "not measured"


def _names(report: Document, category_ids: Sequence[str]) -> list[str]:
    known = {node["category_id"]: one_line(node["name"]) for node in walk(report)}
    return [clip(known.get(i, one_line(i)), _NAME_CHARS) for i in category_ids]
