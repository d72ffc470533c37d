"""The values that travel between the parts of tracetaxa.

Frozen, slotted dataclasses; times are integer nanoseconds since the epoch, UTC; ids are lower-case hex as in
the exporter's tables. A record marked *row of X* mirrors table X: `field_name` is column `FieldName`
(a test keeps them equal), and `*_ns` fields are DateTime64(9) columns without the suffix.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

OTHER = "other"
"""Id of the category that always exists: traces that fit nothing else, and abstentions."""

ROOT = "tracetaxa.trace.root"
"""Attribute of a trace: `missing` when its root span never came; of a session, when one of any trace."""

Role = Literal["system", "user", "assistant", "tool"]
TurnRole = Literal["system", "user", "assistant", "tool", "retrieval"]
Labeller = Literal["human", "llm", "distilled", "local"]
RunStatus = Literal["running", "complete", "partial", "failed", "cancelled"]

ABANDONED = "its process ended before the run did"
SUSPENDED = "its service stopped before the run was done; the next one resumes it"
"""Errors of runs that did not end by themselves: made again, they go on under their id."""


# ------------------------------------------------------------------------------------------------- spans


@dataclass(frozen=True, slots=True)
class SpanEvent:
    time_ns: int
    name: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SpanLink:
    trace_id: str
    span_id: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Span:
    """One row of `otel_traces`: attribute values are strings, arrays and maps are JSON text."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: str
    service_name: str
    start_ns: int
    duration_ns: int
    status: str
    status_message: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    resource: Mapping[str, str] = field(default_factory=dict)
    scope_name: str = ""
    scope_version: str = ""
    events: tuple[SpanEvent, ...] = ()
    links: tuple[SpanLink, ...] = ()

    @property
    def end_ns(self) -> int:
        return self.start_ns + self.duration_ns


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One row of `otel_logs` that names a trace: GenAI content and evaluations may travel this way."""

    trace_id: str
    span_id: str
    """Empty when the record belongs to the trace as a whole."""
    time_ns: int
    event_name: str
    body: str
    """Text, or JSON text where the body was structured."""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Feedback:
    """Row of `feedback`: what a person, a model or a program thinks of a trace, a session or one span.

    Rows with one `feedback_id` are one piece of feedback; the newest counts.
    """

    feedback_id: str
    trace_id: str
    """Empty for feedback on a whole session."""
    session_id: str
    span_id: str
    name: str
    score: float | None
    label: str
    comment: str
    annotator: str
    """HUMAN, LLM, CODE, or empty when nobody said."""
    source: str
    """How it came: `span` (carried by telemetry), `api` or `import`."""
    given_at_ns: int


# ------------------------------------------------------------------------------------------------- traces


@dataclass(frozen=True, slots=True)
class Turn:
    """One step of the conversation, in order.

    A `tool` turn is a call paired with its result (`text`), a `retrieval` turn a query (`arguments`) with the
    documents that were found (`text`).
    """

    role: TurnRole
    text: str
    span_id: str
    time_ns: int = 0
    tool: str = ""
    arguments: str = ""
    error: bool = False


@dataclass(frozen=True, slots=True)
class SpanError:
    span_id: str
    name: str
    message: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one innermost model call: prices may depend on the size of a single request."""

    model: str
    provider: str
    input_tokens: int
    """All of them, those read from or written to a cache included."""
    output_tokens: int
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    stated_usd: float | None = None
    """What the instrumentation says the call cost."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A whole trace, whatever dialect its spans speak."""

    trace_id: str
    session_id: str
    user_id: str
    service_name: str
    root_name: str
    root_span_id: str
    """Of the earliest span when the root is missing."""
    start_ns: int
    end_ns: int
    span_count: int
    error_count: int
    status: str
    is_agent: bool
    llm_calls: int
    tool_calls: int
    tools: tuple[str, ...]
    """Distinct tool names, in order of first use."""
    last_tool_before_error: str
    usage: tuple[Usage, ...]
    """One a model call, in time order."""
    feedback: tuple[Feedback, ...]
    """On this trace and its spans, oldest first."""
    carried: tuple[Feedback, ...]
    """Feedback on other traces and on sessions that spans of this one carry."""
    attributes: Mapping[str, str]
    """Resource and root attributes worth filtering and grouping by (release, environment, tags…)."""
    turns: tuple[Turn, ...]
    errors: tuple[SpanError, ...]
    content_captured: bool
    """False when there were model calls and none of them says what was said."""
    dialects: tuple[str, ...]
    """Names of the dialects that its spans speak."""
    instrumentations: tuple[str, ...]
    """Name and version of what recorded its agent, model and tool spans."""

    @property
    def has_root(self) -> bool:
        """A span without a parent is among its spans; of a session, in each of its traces."""
        return self.attributes.get(ROOT) != "missing"

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(u.model for u in self.usage if u.model))

    @property
    def scores(self) -> dict[str, float]:
        """The mean of the numeric feedback, by name: one person's opinion does not replace another's."""
        scores: dict[str, list[float]] = {}
        for given in self.feedback:
            if given.score is not None:
                scores.setdefault(given.name, []).append(given.score)
        return {name: sum(values) / len(values) for name, values in scores.items()}

    @property
    def input(self) -> str:
        """What the user asked first in this trace, rather than in the history that it began with."""
        asked = [turn for turn in self.turns if turn.role == "user" and turn.text]
        return next((turn.text for turn in asked if turn.time_ns), asked[0].text if asked else "")

    @property
    def output(self) -> str:
        """What the agent answered last."""
        return next((t.text for t in reversed(self.turns) if t.role == "assistant" and t.text), "")


@dataclass(frozen=True, slots=True)
class SpanLine:
    """One span in the outline of a trace or session."""

    trace_id: str
    depth: int
    span_id: str
    name: str
    service_name: str
    kind: str
    """`model`, `tool`, `agent`, `retrieval` or `other`."""
    dialects: tuple[str, ...]
    start_ns: int
    end_ns: int
    status: str
    model: str
    input_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True)
class DigestLine:
    kind: str
    """`user`, `assistant`, `tool`, `error`, `facts` or `cut` (marks what was left out)."""
    text: str
    span_id: str


@dataclass(frozen=True, slots=True)
class Digest:
    """A trace as short text for a model; evidence is looked up in its lines."""

    trace_id: str
    lines: tuple[DigestLine, ...]

    @property
    def text(self) -> str:
        return "\n".join(f"{line.kind}: {line.text}" for line in self.lines)


@dataclass(frozen=True, slots=True)
class TraceRow:
    """Row of `traces`: the newest revision of a closed trace, with its digest."""

    trace_id: str
    revision: int
    session_id: str
    user_id: str
    service_name: str
    root_name: str
    start_ns: int
    end_ns: int
    duration_ms: float
    span_count: int
    error_count: int
    status: str
    is_agent: bool
    llm_calls: int
    tool_calls: int
    tools: tuple[str, ...]
    models: tuple[str, ...]
    last_tool_before_error: str
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    feedback: Mapping[str, float]
    input: str
    output: str
    attributes: Mapping[str, str]
    digest_kinds: tuple[str, ...]
    digest_texts: tuple[str, ...]
    digest_span_ids: tuple[str, ...]
    last_seen_ns: int
    """Arrival time of the newest span that this revision holds."""

    @property
    def digest(self) -> Digest:
        lines = zip(self.digest_kinds, self.digest_texts, self.digest_span_ids, strict=True)
        return Digest(self.trace_id, tuple(DigestLine(*line) for line in lines))


@dataclass(frozen=True, slots=True)
class SessionRow(TraceRow):
    """Row of `sessions`: the traces of a closed session as one; `trace_id` is the first of them.

    `last_seen_ns` is when the newest trace revision that it holds was written.
    """

    trace_ids: tuple[str, ...]
    """In order of their start."""


# ------------------------------------------------------------------------------------------------- analysis


@dataclass(frozen=True, slots=True)
class Category:
    """A kind of trace. `parent_id` is empty at level 1."""

    category_id: str
    name: str
    description: str
    parent_id: str = ""

    @property
    def level(self) -> int:
        return 2 if self.parent_id else 1


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """Two levels of categories; holds `other` at level 1 always."""

    categories: tuple[Category, ...]
    exemplars: tuple[tuple[str, str], ...] = ()
    """(category id at level 1, trace id): a typical member of each, where the engine knows one."""

    @property
    def top(self) -> tuple[Category, ...]:
        return tuple(c for c in self.categories if not c.parent_id)

    def children(self, category_id: str) -> tuple[Category, ...]:
        return tuple(c for c in self.categories if c.parent_id == category_id)

    def get(self, category_id: str) -> Category | None:
        return next((c for c in self.categories if c.category_id == category_id), None)


@dataclass(frozen=True, slots=True)
class AttributeSpec:
    """A typed value to extract from each trace."""

    name: str
    type: Literal["boolean", "number", "string", "enum"]
    values: tuple[str, ...] = ()
    description: str = ""
    keep: tuple[str, ...] = ()
    """Only traces with one of these values are counted in categories; all, when empty."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which closed traces an analysis is about: Start in [start_ns, end_ns) and every filter that is set."""

    start_ns: int
    end_ns: int
    agent_only: bool = True
    service: tuple[str, ...] = ()
    """One of these; like the other tuples, any when empty."""
    status: tuple[str, ...] = ()
    tool: tuple[str, ...] = ()
    """Used one of these."""
    min_ms: float = 0.0
    max_ms: float | None = None
    """Duration in [min_ms, max_ms)."""
    feedback: tuple[str, ...] = ()
    """Has a score of one of these names, which the next two are about then; else any score."""
    feedback_below: float | None = None
    feedback_above: float | None = None
    attributes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Each has one of its values."""
    where: str = ""
    """A checked ClickHouse condition over the columns of `traces`."""
    unit: Literal["trace", "session"] = "trace"
    """What is counted and labelled; of a session, the conditions are on its row of `sessions`."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What an engine is asked to do."""

    analysis: str
    instructions: str
    levels: int = 2
    max_categories: int = 10
    max_subcategories: int = 8
    predefined: tuple[Category, ...] = ()
    attributes: tuple[AttributeSpec, ...] = ()
    verbatim: bool = True
    """Whether descriptions may quote a trace."""
    seed: int = 0
    unit: Literal["trace", "session"] = "trace"
    """What is read: the prompts call it so."""
    previous: tuple[Category, ...] = ()
    """An earlier taxonomy: what is the same kind keeps its name and id."""
    excluded: tuple[str, ...] = ()
    """What must not become a category, in the user's words."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """An engine's verdict on one trace. An abstention has category `other` and says why in `reason`."""

    trace_id: str
    category_id: str
    subcategory_id: str = ""
    confidence: float = 0.0
    reason: str = ""
    evidence: str = ""
    """Verbatim part of one digest line."""
    evidence_span_id: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    abstained: bool = False


@dataclass(frozen=True, slots=True)
class Spend:
    """What the model calls of a run used so far."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    cached_calls: int = 0
    """Calls that were answered from the cache, beside those that were made."""
    cached_tokens: int = 0
    """Of the input tokens, those that the provider had in its prompt cache."""
    unpriced_calls: int = 0
    """Calls whose price nobody knows: they are not in the cost."""

    def since(self, earlier: Spend) -> Spend:
        """What was used after `earlier`, a reading of the same running total."""
        return Spend(*(getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Standing:
    """What a run has spent so far, beside its quote. US dollars are None where a price is unknown."""

    calls: int
    expected_calls: int
    cached_calls: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    expected_usd: float | None
    most_usd: float | None


@dataclass(frozen=True, slots=True)
class SampledTrace:
    """A trace of the sample with what is needed to label it and to count it for the population."""

    row: TraceRow
    stratum: str
    inclusion_probability: float
    likeness: int = 0
    """The same for near-duplicates; 0 for those that are not compared."""

    @property
    def weight(self) -> float:
        return 1.0 / self.inclusion_probability


# ------------------------------------------------------------------------------------------------- results


@dataclass(frozen=True, slots=True)
class TaxonomyRow:
    """Row of `taxonomies`."""

    analysis: str
    taxonomy_version: int
    run_id: str
    category_id: str
    parent_id: str
    level: int
    name: str
    description: str
    event: str
    from_ids: tuple[str, ...]
    created_at_ns: int


@dataclass(frozen=True, slots=True)
class LabelRow:
    """Row of `trace_labels`."""

    analysis: str
    run_id: str
    taxonomy_version: int
    trace_id: str
    revision: int
    trace_start_ns: int
    service_name: str
    session_id: str
    category_id: str
    category: str
    subcategory_id: str
    subcategory: str
    confidence: float
    labeller: Labeller
    classifier_version: str
    reason: str
    evidence: str
    evidence_span_id: str
    attributes: Mapping[str, str]
    labelled_at_ns: int


@dataclass(frozen=True, slots=True)
class RunSampleRow:
    """Row of `run_samples`."""

    run_id: str
    trace_id: str
    stratum: str
    inclusion_probability: float
    weight: float


@dataclass(frozen=True, slots=True)
class AuditRow:
    """Row of `run_audits`: a trace that was labelled twice; the first answer is the one that counts."""

    run_id: str
    analysis: str
    trace_id: str
    trace_start_ns: int
    category_id: str
    subcategory_id: str
    stated_confidence: float
    second_category_id: str
    second_subcategory_id: str
    second_stated_confidence: float
    second_abstained: bool
    second_reason: str


@dataclass(frozen=True, slots=True)
class RunRow:
    """Row of `analysis_runs`: the newest row per RunId wins."""

    run_id: str
    analysis: str
    window_start_ns: int
    window_end_ns: int
    status: RunStatus
    engine: str
    models: tuple[str, ...]
    prompt_fingerprints: Mapping[str, str]
    traces_selected: int
    traces_sampled: int
    traces_labelled: int
    traces_abstained: int
    still_open: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    started_at_ns: int
    finished_at_ns: int
    config: str
    error: str
    updated_at_ns: int


@dataclass(frozen=True, slots=True)
class CategoryRow:
    """Row of `report_categories`: estimates for the population, not counts of the sample."""

    run_id: str
    analysis: str
    window_start_ns: int
    window_end_ns: int
    category_id: str
    parent_id: str
    level: int
    name: str
    traces: int
    """Estimated traces of the window in this category."""
    sampled: int
    """Labelled traces that the estimate rests on."""
    share: float
    share_low: float
    share_high: float
    error_rate: float
    error_rate_low: float
    error_rate_high: float
    p50_ms: float
    p95_ms: float
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    cost_low: float | None
    cost_high: float | None
    feedback: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class ModelReplyRow:
    """Row of `model_replies`: a usable answer, by the fingerprint of what was asked of which model."""

    fingerprint: str
    model: str
    text: str
    data: str
    """JSON; `null` when no schema was asked for."""
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    answered_at_ns: int


@dataclass(frozen=True, slots=True)
class ReportRow:
    """Row of `reports`; `document` is the JSON that every rendering is made from."""

    run_id: str
    analysis: str
    title: str
    summary: str
    key_points: tuple[str, ...]
    document: str
    created_at_ns: int
