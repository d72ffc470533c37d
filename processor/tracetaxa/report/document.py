"""The report document, `reports.Document`: the JSON that every rendering is made from.

Shares and rates are in [0, 1], times in milliseconds, costs in US dollars (null when a price is unknown).
Numbers of a category speak for the window; `sampled` is how many labelled traces they rest on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, cast

from tracetaxa.report.plain import plain_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tracetaxa.report.quality import Quality


class Shown(TypedDict):
    role: str
    value: float | None
    usual: float | None
    score: str


class Example(TypedDict):
    trace_id: str
    category_id: str
    subcategory_id: str
    input: str
    output: str
    evidence: str
    evidence_span_id: str
    reason: str
    confidence: float
    status: str
    duration_ms: float
    session_id: NotRequired[str]
    """With `unit` session: the session, whose first trace is `trace_id`."""
    shown_for: NotRequired[list[Shown]]
    """Why it is shown: as typical, or for what it is an extreme of."""


class LeftOut(TypedDict):
    """Traces that an extracted attribute keeps out of the categories."""

    attribute: str
    kept: list[str]
    traces: int
    sampled: int
    share: float
    share_low: float
    share_high: float


class Tool(TypedDict):
    name: str
    share: float


class CategoryNode(TypedDict):
    category_id: str
    parent_id: str
    level: int
    name: str
    description: str
    traces: int
    sampled: int
    share: float
    share_low: float
    share_high: float
    error_rate: float
    error_rate_low: float
    error_rate_high: float
    p50_ms: float
    p95_ms: float
    input_tokens: int | None
    output_tokens: int | None
    """Both are None in an opened document, as in the totals, where no span told any."""
    cost_usd: float | None
    cost_low: float | None
    cost_high: float | None
    feedback: dict[str, float]
    tools: list[Tool]
    attributes: dict[str, dict[str, float]]
    examples: list[Example]
    withheld: NotRequired[str]
    """Why there are no examples: too few users stand behind the category."""
    subcategories: NotRequired[list[CategoryNode]]
    """Level 1 only."""


class Population(TypedDict):
    selected: int
    sampled: int
    labelled: int
    """Those that got an answer, abstentions among them."""
    copied: NotRequired[int]
    """Of the labelled, those that took the label of a near-duplicate."""
    abstained: int
    still_open: int


class Stratum(TypedDict):
    name: str
    selected: int
    labelled: int


class SampleAsked(TypedDict):
    size: int | None
    seed: int | None
    strategy: NotRequired[str | None]
    strata: NotRequired[list[Stratum]]
    """Parts of the window that were sampled at rates of their own, the largest first."""


class SpendTotals(TypedDict):
    calls: int
    cached_calls: NotRequired[int]
    """Answered from the cache, beside `calls`."""
    input_tokens: int
    cached_input_tokens: NotRequired[int]
    """Of `input_tokens`, those that the provider had in its prompt cache."""
    output_tokens: int
    cost_usd: float | None


class Totals(TypedDict):
    """All null when nothing was labelled."""

    error_rate: float | None
    p50_ms: float | None
    p95_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


class Finding(TypedDict):
    outcome: str
    category_id: str
    category: str
    above_ms: float | None
    trait: str
    name: str
    value: str
    sampled: int
    rate_with: float
    rate_without: float
    ratio: float
    ratio_low: float
    ratio_high: float
    p: float
    q: float
    sentence: str


class Findings(TypedDict):
    tested: int
    found: int
    false_discovery_rate: float
    associations: list[Finding]


class Margin(TypedDict):
    category_id: str
    name: str
    share: float
    margin: float
    margins: list[float]


class Precision(TypedDict):
    labelled: int
    sizes: list[int]
    smallest_traces: int
    smallest_share: float
    categories: list[Margin]
    sentences: list[str]


class Estimates(TypedDict):
    """What shares rest on beside the sample."""

    method: str
    labelled: int
    predicted: int
    power: float
    agreement: float
    classifier_version: str


class Document(TypedDict):
    run_id: str
    analysis: str
    unit: NotRequired[str]
    """What is counted: `trace` (also where it is missing) or `session`. Names such as `traces` stay."""
    title: str
    instructions: str
    status: str
    error: str
    engine: str
    models: list[str]
    taxonomy_version: int
    window_start: str
    window_end: str
    created_at: str
    summary: str
    key_points: list[str]
    population: Population
    sample: NotRequired[SampleAsked]
    """Not in reports of before it was kept."""
    spend: SpendTotals
    totals: Totals
    prices: NotRequired[str]
    """Where the prices are from that `cost_usd` rests on."""
    categories: list[CategoryNode]
    findings: NotRequired[Findings | None]
    left_out: NotRequired[list[LeftOut]]
    """What goes together; null when nothing was labelled."""
    precision: NotRequired[Precision | None]
    estimates: NotRequired[Estimates]
    """What a larger sample would buy; null when there is none."""
    quality: NotRequired[Quality]
    """How far the labels can be trusted; not in reports of before it was measured."""


def opened(document: Mapping[str, Any]) -> Document:
    """The document with every string plain, so that a rendering only has to think of its own markup.

    Token counts that are unknown, which the document has as two zeros, are None.
    """
    report = cast("Document", plain_tree(document))
    for numbers in (report["totals"], *walk(report)):
        if not (numbers["input_tokens"] or numbers["output_tokens"]):
            numbers["input_tokens"] = numbers["output_tokens"] = None
    return report


def units(document: Document) -> str:
    """What the numbers count: 'traces' or 'sessions'."""
    return "sessions" if document.get("unit") == "session" else "traces"


def children(category: CategoryNode) -> list[CategoryNode]:
    return category.get("subcategories", [])


def walk(document: Document) -> Iterator[CategoryNode]:
    """Every category, each followed by its subcategories."""
    for category in document["categories"]:
        yield category
        yield from children(category)


def fails_more(category: CategoryNode, document: Document) -> bool:
    """Surely above the window's error rate: the whole interval is."""
    overall = document["totals"]["error_rate"]
    return overall is not None and category["error_rate_low"] > overall and category["sampled"] > 0


def with_verdict(document: Document) -> int:
    """Labelled ones that the numbers rest on: without a verdict a trace or session counts nowhere."""
    return document["population"]["labelled"] - document["population"]["abstained"]


def has_numbers(document: Document) -> bool:
    """Whether anything was labelled: without that there is nothing to estimate from."""
    return with_verdict(document) > 0 and document["totals"]["error_rate"] is not None


def all_read(document: Document) -> bool:
    """Whether no share has a sampling error left."""
    return all(node["share_low"] == node["share_high"] for node in walk(document))


def lists_all_subcategories(document: Document) -> bool:
    """False when a category has traces that are in none of its subcategories."""
    return all(
        sum(sub["sampled"] for sub in children(category)) >= category["sampled"]
        for category in document["categories"]
        if children(category)
    )


def bar_scale(document: Document) -> float:
    """Share at the right end of every bar: the largest upper bound, rounded up to a tenth."""
    largest = max((c["share_high"] for c in walk(document)), default=0.0)
    return min(1.0, max(0.1, -(-round(largest * 1000) // 100) / 10))
