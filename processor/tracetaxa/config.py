"""Configuration: a YAML file, overridden by `TRACETAXA_<SECTION>__<KEY>` in the environment.

Every field says what it does; unknown keys are refused with the nearest known one.
"""

from __future__ import annotations

import difflib
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from tracetaxa.analyze.audit import AuditPlan
from tracetaxa.analyze.redaction.patterns import KINDS
from tracetaxa.analyze.redaction.redact import CustomPattern
from tracetaxa.analyze.sampling.plan import SamplePlan
from tracetaxa.errors import ConfigError
from tracetaxa.records import OTHER, AttributeSpec, Brief, Category

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
"""Names of analyses, categories' ids and attributes: they become parts of span attribute names."""

_DURATION = re.compile(r"^\s*(\d+)\s*([smhdw])\s*$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def duration_seconds(text: str) -> int:
    """'90s', '15m', '24h', '7d', '2w' → seconds. Raises ValueError."""
    match = _DURATION.match(text)
    if not match or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not a duration such as 15m, 24h or 7d")
    return int(match[1]) * _SECONDS[match[2]]


def _duration(text: str) -> str:
    duration_seconds(text)
    return text


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """'127.0.0.1:4317' or '[::1]:4317' → (host, port). Raises ValueError."""
    host, colon, port = endpoint.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{endpoint!r} is not host:port (port 0 means any free port)")
    return host.strip("[]"), int(port)


def _endpoint(text: str) -> str:
    split_endpoint(text)
    return text


def _header_name(text: str) -> str:
    name = text.lower()
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or name.startswith("grpc-") or name.endswith("-bin"):
        raise ValueError(f"{text!r} is not a header that both gRPC and HTTP can carry, such as x-api-key")
    return name


def _cron(text: str) -> str:
    try:
        # Only the five fields of cron: the library also takes seconds before them.
        if len(text.split()) != 5:
            raise CronSimError("five fields are needed")
        next(CronSim(text, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(
            f"{text!r} is not a cron expression such as '0 3 * * *' (minute, hour, day of month, month, "
            f"day of week): {str(error).lower()}"
        ) from error
    except StopIteration:
        raise ValueError(f"{text!r} names a time that never comes") from None
    return text


def _time_zone(text: str) -> str:
    try:
        if text != "UTC":  # which needs no time zone database
            ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"{text!r} is not a time zone that this machine knows, such as UTC or Europe/Berlin "
            "(a machine without a time zone database needs the package tzdata)"
        ) from error
    return text


Endpoint = Annotated[str, AfterValidator(_endpoint)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
Duration = Annotated[str, AfterValidator(_duration)]
CronExpression = Annotated[str, AfterValidator(_cron)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Effort = Literal["default", "none", "minimal", "low", "medium", "high"]
_MOST = 3_153_600_000.0
"""A hundred years in seconds, or as much of anything else that is more than zero."""
Positive = Annotated[float, Field(gt=0, le=_MOST)]


class Misplaced(ValueError):
    """A mistake that is seen from above: `at` is where it is, from the section that sees it."""

    def __init__(self, message: str, *at: str | int) -> None:
        super().__init__(message)
        self.at = at


def _second_of_two(names: Sequence[str]) -> int | None:
    """Where the first name stands that stood before."""
    return next((index for index, name in enumerate(names) if name in names[:index]), None)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class StoreConfig(Section):
    dsn: str = "chdb://./tracetaxa-data"
    """Where ClickHouse is: `chdb://path` (embedded), `clickhouse://user:password@host:8123`, or
    `clickhouses://…` (TLS)."""
    database: Name = "otel"
    """Database that holds every table."""
    cluster: str | None = Field(default=None, pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]*|\{[a-z_]+\})$")
    """Name of the ClickHouse cluster, or a macro such as `{cluster}`, whose servers share the tables
    (docs/cluster.md); none: one server."""
    retention_days: int = Field(default=30, ge=1)
    """Spans, traces and labels older than this are dropped."""
    readers: int = Field(default=4, ge=1, le=64)
    """Reading connections; more lets more questions run at once."""


class TlsConfig(Section):
    cert_file: Path
    """Certificate of this server and its chain, in PEM; read at the start."""
    key_file: Path
    """Its key, in PEM and not encrypted."""
    client_ca_file: Path | None = None
    """Mutual TLS: only clients with a certificate from these authorities (PEM) get in."""


class HttpTlsConfig(TlsConfig):
    min_version: Annotated[Literal["1.2", "1.3"], BeforeValidator(str)] = "1.2"
    """Oldest TLS version that is spoken."""


class GrpcConfig(Section):
    endpoint: Endpoint = "127.0.0.1:4317"
    """Where OTLP over gRPC is accepted."""
    tls: TlsConfig | None = None
    """TLS (1.2 or newer) for this endpoint; unset is plain text."""
    max_recv_msg_size_mib: int = Field(default=64, ge=1, le=1024)
    """Largest request, before and after decompression."""
    max_concurrent_streams: int = Field(default=100, ge=1)
    """Requests that one connection may have under way; its others wait at the sender."""


class HttpConfig(Section):
    endpoint: Endpoint = "127.0.0.1:4318"
    """Where OTLP over HTTP is accepted: /v1/traces and /v1/logs, protobuf or JSON."""
    tls: HttpTlsConfig | None = None
    """TLS for this endpoint; unset is plain text."""
    max_body_mib: int = Field(default=64, ge=1, le=1024)
    """Largest request, before and after decompression."""
    max_connections: int = Field(default=1024, ge=1)
    """Connections beyond these are closed at once."""
    header_seconds: Positive = 10.0
    """The headers of a request must come within this long."""
    idle_seconds: Positive = 120.0
    """A connection without a request is closed after this long; shorter than the pauses between a sender's
    batches makes it connect anew for each."""


class HeaderAuthConfig(Section):
    name: HeaderName
    """A header, such as `x-api-key`."""
    value_file: Path
    """File with the value that it must have; read at the start."""


class ReceiverAuthConfig(Section):
    bearer_token_file: Path | None = None
    """File with the token that senders must give as `Authorization: Bearer TOKEN`; read at the start."""
    header: HeaderAuthConfig | None = None
    """A header of another name instead."""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if self.bearer_token_file is not None and self.header is not None:
            raise ValueError("set `bearer_token_file` or `header`, not both")
        return self


class ReceiverConfig(Section):
    enabled: bool = True
    """Off: take no spans here; a collector or another tracetaxa process fills the tables (docs/attach.md)."""
    grpc: GrpcConfig = GrpcConfig()
    http: HttpConfig = HttpConfig()
    auth: ReceiverAuthConfig = ReceiverAuthConfig()
    linger_ms: int = Field(default=50, ge=0, le=10_000)
    """How long a request may wait for others to share its insert; more means fewer, larger inserts."""
    max_batch_spans: int = Field(default=20_000, ge=1)
    """A group of requests is committed early when it holds this many spans."""
    max_writes: int = Field(default=2, ge=1, le=64)
    """Groups of spans that may be written at the same time; each but one is full. More uses more cores and
    memory."""
    max_in_flight_mib: int = Field(default=256, ge=1)
    """Request bytes that may wait for their commit; beyond it senders are told to come back."""
    max_concurrent_requests: int = Field(default=1024, ge=1)
    """Requests under way at once; beyond it senders are told to come back."""
    read_seconds: Positive = 30.0
    """A request must have come this long after its headers, or it is cut off."""
    retry_after_seconds: Positive = 2.0
    """What senders are told when there is no room or no ClickHouse."""
    shutdown_seconds: Positive = 10.0
    """How long requests under way may take to finish on shutdown."""


class AssemblyConfig(Section):
    idle_seconds: Positive = 30.0
    """A trace closes after this long without a new span, if its root or one with a remote parent came."""
    orphan_idle_seconds: Positive = 120.0
    """A trace of which neither came closes after this long without a new span."""
    max_trace_seconds: Positive = 3600.0
    """A trace closes this long after its first span at the latest."""
    session_idle_seconds: Positive = 1800.0
    """A session closes this long after the last span of its closed traces arrived; a later trace opens it
    again. Longer than a trace takes to close, and as long as users pause."""
    max_session_traces: int = Field(default=200, ge=1, le=2000)
    """Of a session with more traces the newest are kept; more costs memory."""
    max_session_spans: int = Field(default=20_000, ge=1)
    """Of a session whose traces have more spans the newest traces are kept; more costs memory."""
    max_session_mib: int = Field(default=64, ge=1)
    """The same by the size of attributes and events; in memory they take a few times that."""
    tick_seconds: Positive = 1.0
    """How often closed traces are looked for."""
    batch_traces: int = Field(default=500, ge=1, le=2000)
    """Traces assembled at once, within the two limits below; more costs memory."""
    max_trace_spans: int = Field(default=20_000, ge=1)
    """Of a trace with more spans the first are kept, of many traces as many are read at once; more costs
    memory. A trace says how many spans it leaves out."""
    max_trace_mib: int = Field(default=64, ge=1)
    """The same by the size of attributes and events; in memory they take a few times that."""
    max_attempts: int = Field(default=3, ge=1)
    """Tries to read a trace before it is written without its content."""
    max_text_chars: int = Field(default=16_384, ge=100)
    """Input and Output of a trace are kept up to this length; its spans keep all."""
    digest_tokens: int = Field(default=400, ge=50, le=8000)
    """Budget of a trace's digest, in tokens of about four characters; more costs more model input."""


class ModelPrice(Section):
    input: float = Field(ge=0)
    """US dollars per million input tokens."""
    output: float = Field(ge=0)
    """US dollars per million output tokens."""
    cached_input: float | None = Field(default=None, ge=0)
    """US dollars per million input tokens out of the provider's prompt cache; as `input` when unset."""


class LlmConfig(Section):
    engine: Literal["auto", "openai", "local"] = "auto"
    """`auto` is `openai` when OPENAI_API_KEY, OPENAI_BASE_URL or base_url is set, else `local`."""
    base_url: str | None = None
    """An OpenAI-compatible endpoint; OPENAI_BASE_URL when unset. The key is OPENAI_API_KEY, never here."""
    taxonomy_model: str = "gpt-6.1-sol"
    """Model that finds the categories: a capable one."""
    taxonomy_effort: Effort = "low"
    """Its reasoning effort; more costs more output. Left out where a model has none."""
    assignment_model: str = "gpt-6-luna"
    """Model that assigns traces: a small one."""
    assignment_effort: Effort = "none"
    """Its reasoning effort."""
    max_concurrency: int = Field(default=8, ge=1)
    """Model calls under way at once; fewer while the provider refuses some for their rate, or is slow."""
    requests_per_minute: Positive | None = None
    """Each model gets no more requests than this; unset: as many as it takes."""
    tokens_per_minute: Positive | None = None
    """Each model gets no more input tokens than this."""
    max_attempts: int = Field(default=4, ge=1)
    """Tries for one answer before its traces are given up; a refusal for the rate is none."""
    max_wait_seconds: float = Field(default=300.0, ge=0)
    """For an answer, refusals for the rate are waited out this long; then they count as tries."""
    timeout_seconds: Positive = 120.0
    """One model call may take this long."""
    traces_per_call: int = Field(default=8, ge=1, le=64)
    """Traces in one assignment request; more is cheaper and less accurate."""
    digests_per_batch: int = Field(default=40, ge=2, le=500)
    """Digests in one discovery request."""
    discovery_traces: int = Field(default=500, ge=10)
    """Traces of the sample that the taxonomy is made from; all of the sample is assigned."""
    max_data_tokens: int = Field(default=32_000, ge=500)
    """Most tokens of trace text in one request, roughly; less for a model with a small context."""
    few_shot: int = Field(default=10, ge=0)
    """Labelled traces, at most one a category, that each assignment request begins with; 0 for none."""
    max_output_tokens: int = Field(default=4096, ge=64)
    """Longest answer asked for."""
    cache_days: float = Field(default=30, ge=0)
    """Answers of models are kept this long: a run that is made again, or after it was killed, does not pay
    again for what it asked before. 0 keeps none."""
    prices: dict[str, ModelPrice] = {}
    """Prices by model name, over the built-in table."""


def _redaction(value: Any) -> Any:
    """YAML reads a bare on as true."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str) and value not in ("auto", "on", "off"):
        value = [kind.strip() for kind in value.split(",")]
    for kind in value if isinstance(value, list | tuple) else ():
        if kind not in KINDS:
            raise ValueError(f"auto, on, off, or a list of kinds; {_unknown(str(kind), list(KINDS), 'kind')}")
    return tuple(value) if isinstance(value, list) else value


class PatternConfig(Section):
    name: Name
    """What it finds; `[name]` stands there afterwards."""
    regex: str = Field(min_length=1, max_length=1000)
    """A regular expression in RE2's syntax: no look-around, no back-references; `(?i)` ignores case."""
    replacement: str = Field(default="", max_length=100)
    """What stands there afterwards instead of `[name]`."""

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        try:
            CustomPattern(self.name, self.regex).compile()
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return self


class PrivacyConfig(Section):
    redact: Annotated[str | tuple[str, ...], BeforeValidator(_redaction)] = "auto"
    """What is replaced before a model or a report sees it. `on`: e-mail addresses, phone, card, social
    security and account numbers, keys, tokens, passwords and public IP addresses, and what `patterns` and
    `hook` find. `auto`: the same unless the engine runs on this machine. `off`: nothing. A list such as
    `[email, key]`: on, with these built-in kinds only (email, phone, card, iban, ssn, key, token, password,
    ip)."""
    patterns: tuple[PatternConfig, ...] = ()
    """Patterns of one's own, wherever redaction is on."""
    hook: str | None = Field(default=None, pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")
    """A function `module:function` from text to redacted text, wherever redaction is on; called last. When it
    fails, the run fails and nothing leaves (docs/privacy.md)."""
    min_users: int = Field(default=1, ge=1)
    """A category whose traces are of fewer users (or sessions, where there are no user ids) is reported
    without examples and quotes."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        second = _second_of_two([pattern.name for pattern in self.patterns])
        if second is not None:
            raise Misplaced("two patterns have the same name", "patterns", second, "name")
        return self


def _one_or_more(value: Any) -> Any:
    """A single value may stand without its brackets; an empty one is none."""
    if isinstance(value, str):
        return (value,) if value else ()
    return value


def _status(value: str) -> str:
    if value not in STATUSES:
        raise ValueError(_unknown(value, list(STATUSES), "status"))
    return value


STATUSES = ("Unset", "Ok", "Error")
Texts = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_one_or_more)]
"""One text, or a list of them."""
Statuses = Annotated[tuple[Annotated[str, AfterValidator(_status)], ...], BeforeValidator(_one_or_more)]


class FilterConfig(Section):
    service: Texts = ()
    """Only this service.name, or one of a list; likewise below, where more than one value makes sense."""
    status: Statuses = ()
    """Only traces with this status: Unset, Ok, Error."""
    tool: Texts = ()
    """Only traces that used this tool."""
    min_seconds: float = Field(default=0.0, ge=0)
    """Only traces that took so long or longer."""
    max_seconds: float | None = Field(default=None, gt=0)
    """Only traces that took less."""
    feedback: Texts = ()
    """Only traces with a feedback score of this name, which the next two are about then."""
    feedback_below: float | None = None
    """Only traces with a feedback score below this."""
    feedback_above: float | None = None
    """Only traces with a feedback score above this."""
    attributes: dict[str, Texts] = {}
    """Only traces whose attributes have these values: `{release: [v1, v2], user.tier: gold}`."""
    where: str = ""
    """A ClickHouse condition over the columns of `traces`, or of `sessions` when that is the unit."""

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.max_seconds is not None and self.max_seconds <= self.min_seconds:
            raise ValueError("`max_seconds` must be above `min_seconds`: no trace would be left")
        return self


class SampleConfig(Section):
    size: int = Field(default=1000, ge=1)
    """Traces (or sessions) that the engine reads; the report speaks for all of the window, with intervals."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """The same seed takes the same sample."""
    strategy: Literal["uniform", "stratified", "errors", "low_feedback", "tools"] = "uniform"
    """How it is drawn. `stratified`: each combination of `strata` is represented. `errors`, `low_feedback`
    and `tools` read more of what failed, was disliked or used one of `tools`; weights make up for it in every
    number."""
    strata: tuple[str, ...] = ("error", "latency")
    """For `stratified`: `error`, `latency`, `feedback`, `tools`, or attributes such as `user.tier`."""
    allocation: Literal["proportional", "equal"] = "proportional"
    """For `stratified`: each stratum by its size, or all alike."""
    tools: tuple[str, ...] = ()
    """For `tools`, and the stratum of this name: the tools in question."""
    favour: float = Field(default=0.5, gt=0, lt=1)
    """For `errors`, `low_feedback` and `tools`: their share of the sample, if there are so many."""
    thin_duplicates: bool = True
    """Of traces of the sample that say the same but for numbers and ids a model reads one in eleven; the
    others take its label, with labeller `distilled`, where its quote stands in them too. Weights stay as they
    are."""

    @model_validator(mode="after")
    def _tools_named(self) -> Self:
        needs = self.strategy == "tools" or (self.strategy == "stratified" and "tools" in self.strata)
        if needs and not self.tools:
            raise ValueError("the strategy needs `tools`: name the tools to tell apart by")
        if self.strategy == "stratified" and not self.strata:
            raise ValueError("`stratified` needs `strata`, such as [error, latency]")
        return self

    def plan(self) -> SamplePlan:
        """What the analysis draws by."""
        strata, favoured = {
            "uniform": ((), ()),
            "stratified": (self.strata, ()),
            "errors": (("error",), ("error",)),
            "low_feedback": (("feedback",), ("low feedback",)),
            "tools": (("tools",), ("used the tools",)),
        }[self.strategy]
        return SamplePlan(
            size=self.size,
            seed=self.seed,
            strata=strata,
            allocation=self.allocation,
            favoured=favoured,
            favour=self.favour,
            tools=self.tools,
        )


class PredefinedCategory(Section):
    name: str = Field(min_length=1)
    """What the category is called."""
    description: str = ""
    """What belongs into it, in a sentence."""
    id: Name | None = None
    """Its id; made from the name when unset."""


class TaxonomyConfig(Section):
    levels: Literal[1, 2] = 2
    """2 adds subcategories."""
    max_categories: int = Field(default=10, ge=1, le=50)
    """Most top-level categories, `other` not counted."""
    max_subcategories: int = Field(default=8, ge=1, le=50)
    """Most subcategories in one category."""
    predefined: tuple[PredefinedCategory, ...] = ()
    """Categories that must exist at the top level."""
    discover: bool = True
    """Find categories beside the predefined ones. Off: the top level is theirs alone; subcategories are still
    found, unless `levels` is 1."""
    excluded: tuple[str, ...] = ()
    """What must not become a category: names, or a few words each. A model reads it, the local engine does
    not."""

    @model_validator(mode="after")
    def _has_categories(self) -> Self:
        if not self.discover and not self.predefined:
            raise ValueError("with `discover: false` there must be `predefined` categories")
        return self


def _kept(value: Any) -> Any:
    """One value or a list of them; YAML reads true and false as booleans."""
    values = value if isinstance(value, list | tuple) else [value]
    return tuple(str(v).lower() if isinstance(v, bool) else v for v in values)


class AttributeConfig(Section):
    name: Name
    """Part of the attribute name: `tracetaxa.<analysis>.attribute.<name>`."""
    type: Literal["boolean", "number", "string", "enum"]
    """What its values are."""
    values: tuple[str, ...] = ()
    """The allowed values of an enum."""
    description: str = ""
    """What the model looks for."""
    keep: Annotated[tuple[str, ...], BeforeValidator(_kept)] = ()
    """Count only traces with one of these values (true, false for a boolean); the others are labelled and
    reported as left out. Not for numbers."""

    @model_validator(mode="after")
    def _enum_has_values(self) -> Self:
        if (self.type == "enum") != bool(self.values):
            raise ValueError("`values` belongs to type enum, and an enum needs them")
        return self

    @model_validator(mode="after")
    def _keeps_what_can_be(self) -> Self:
        if self.type == "string":
            return self
        possible = {"enum": self.values, "boolean": ("true", "false")}.get(self.type, ())
        for value in self.keep:
            if value not in possible:
                known = ", ".join(possible) or "numbers can't be kept by value"
                raise ValueError(f"`keep` has {value!r}, which is no value of it: {known}")
        return self


class BudgetConfig(Section):
    usd: float | None = Field(default=None, gt=0)
    """Stop asking the model before the run costs more than this; the report is then partial."""
    overrun: float | None = Field(default=4.0, ge=1)
    """Stop before the run uses so many times the tokens (or the money) that its quote expects, with room for
    one long answer more: repeats of bad answers can't run away. null: only `usd` bounds it."""


class AuditConfig(Section):
    size: int = Field(default=200, ge=0)
    """Traces that a model labels a second time, with the labels in another order. How often both answers
    agree is in the report, and makes of stated confidences calibrated ones. More costs more and tells it more
    exactly; 0: none. It is within the budget, and left out when that is used up."""
    share: float = Field(default=0.2, gt=0, le=1)
    """Of a smaller sample at most this share (but 20 traces)."""
    stability: bool = False
    """Also find the categories in each half of the sample, and tell how far both agree: that costs about as
    much as finding them did."""
    stability_size: int = Field(default=200, ge=20)
    """Traces that both halves label for that comparison."""

    def plan(self) -> AuditPlan:
        """Which traces are labelled again."""
        return AuditPlan(self.size, self.share)


class AnalysisConfig(Section):
    name: Name = "topics"
    """Part of the attribute names: `tracetaxa.<name>.category`."""
    instructions: str = "What are users asking the agent to do?"
    """The question, in plain words."""
    unit: Literal["trace", "session"] = "trace"
    """What is read, counted and labelled: each trace, or each session, whose traces then share its label.
    Traces without a session id are in no session."""
    agent_only: bool = True
    """Leave out traces (or sessions) without agent or model spans."""
    window: Duration = "24h"
    """How far back a run looks when it is not told."""
    schedule: CronExpression | None = None
    """When the service runs it by itself, as a cron expression: `0 3 * * *` is every night at three. The
    window ends at the scheduled time. Unset: never (docs/schedules.md)."""
    time_zone: TimeZone = "UTC"
    """The time zone of `schedule`, such as `Europe/Berlin`."""
    filter: FilterConfig = FilterConfig()
    sample: SampleConfig = SampleConfig()
    taxonomy: TaxonomyConfig = TaxonomyConfig()
    attributes: tuple[AttributeConfig, ...] = ()
    """Values that the model extracts from each trace; the local engine extracts none."""
    budget: BudgetConfig = BudgetConfig()
    audit: AuditConfig = AuditConfig()
    max_abstained: float = Field(default=0.2, ge=0, le=1)
    """A run that could not label a larger share of its sample ends as `partial`."""

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if (second := _second_of_two([attribute.name for attribute in self.attributes])) is not None:
            name = self.attributes[second].name
            raise Misplaced(f"two attributes have the same name, {name!r}", "attributes", second, "name")
        self.brief()
        return self

    def brief(self) -> Brief:
        """What the engine is asked."""
        used = {OTHER}
        predefined = []
        for index, category in enumerate(self.taxonomy.predefined):
            identity = (
                category.id or re.sub(r"[^a-z0-9]+", "_", category.name.lower()).strip("_") or "category"
            )
            if not identity[0].isalpha():
                identity = f"c_{identity}"
            if identity in used:
                raise Misplaced(
                    f"two predefined categories have the id {identity!r}, or it is reserved",
                    *("taxonomy", "predefined", index),
                )
            used.add(identity)
            predefined.append(Category(identity, category.name, category.description))
        return Brief(
            analysis=self.name,
            instructions=self.instructions,
            levels=self.taxonomy.levels,
            max_categories=self.taxonomy.max_categories if self.taxonomy.discover else len(predefined),
            max_subcategories=self.taxonomy.max_subcategories,
            predefined=tuple(predefined),
            attributes=tuple(
                AttributeSpec(a.name, a.type, a.values, a.description, a.keep) for a in self.attributes
            ),
            seed=self.sample.seed,
            unit=self.unit,
            excluded=self.taxonomy.excluded,
        )


class SchedulerConfig(Section):
    enabled: bool = True
    """Off: this process runs nothing by itself; another one does, or a job of Kubernetes."""
    settle_seconds: float | None = Field(default=None, ge=0)
    """A scheduled run starts this long after its window's end, so that the traces in it have closed. Unset:
    `assembly.idle_seconds` and `assembly.orphan_idle_seconds`, for sessions `assembly.session_idle_seconds`
    more."""
    max_settle_seconds: float = Field(default=3600, ge=0)
    """Up to this long after its window's end it waits for traces that were open then."""
    max_catch_up: int = Field(default=3, ge=1)
    """Of scheduled times that were missed, the newest so many are made up for, oldest first."""
    jitter_seconds: float = Field(default=20, ge=0)
    """A scheduled run starts up to this much later, by a fixed amount for each host, analysis and time: not
    everything starts at once."""
    max_attempts: int = Field(default=3, ge=1)
    """A scheduled run that failed is made again, up to so many times in all."""
    retry_seconds: Positive = 300
    """How long after a failure; twice as long after each further one."""
    tick_seconds: Positive = 5
    """How often it is looked what is due."""
    lease_seconds: float = Field(default=60, ge=1)
    """On a ClickHouse server: a process at work on an analysis that is not heard of for this long counts as
    gone, and another goes on with its run. It reports four times as often."""
    claim_seconds: float = Field(default=1, gt=0)
    """On a ClickHouse server: how long a claim to the next run is open to those of others; longer than rows
    take from one process to the other."""

    @model_validator(mode="after")
    def _claims_live(self) -> Self:
        if self.claim_seconds * 2 > self.lease_seconds:
            raise ValueError("`lease_seconds` must be at least twice `claim_seconds`")
        return self


class ApiConfig(Section):
    endpoint: Endpoint = "127.0.0.1:8080"
    """Report pages and the JSON API."""
    token_file: Path | None = None
    """File with the bearer token; needed when the API or SQL endpoint listens beyond localhost."""


class SqlConfig(Section):
    enabled: bool = True
    """Serve the embedded database read-only over ClickHouse's HTTP interface."""
    endpoint: Endpoint = "127.0.0.1:8123"
    max_execution_seconds: int = Field(default=30, ge=1)
    """Longest time one question may take."""
    max_memory_mib: int = Field(default=2048, ge=64)
    """Most memory one question may take."""
    max_result_mib: int = Field(default=256, ge=1)
    """Largest answer."""
    max_concurrency: int = Field(default=4, ge=1)
    """Questions answered at once; others wait."""


class HealthConfig(Section):
    enabled: bool = True
    endpoint: Endpoint = "127.0.0.1:13133"
    """`/` answers 200 only when ingest works."""


_SIDECAR_PORT_SHIFT = 10
"""The `sidecar` profile moves every default port by this much, to live beside a collector in one pod."""

_PORTS = {
    ("receiver", "grpc"): 4317,
    ("receiver", "http"): 4318,
    ("api",): 8080,
    ("sql",): 8123,
    ("health",): 13133,
}


class Config(BaseSettings):
    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix="TRACETAXA_",
        env_nested_delimiter="__",
        use_attribute_docstrings=True,
    )

    profile: Literal["default", "sidecar"] = "default"
    """`sidecar` adds 10 to every default port, to live beside a collector in one pod."""
    store: StoreConfig = StoreConfig()
    receiver: ReceiverConfig = ReceiverConfig()
    assembly: AssemblyConfig = AssemblyConfig()
    llm: LlmConfig = LlmConfig()
    analyses: tuple[AnalysisConfig, ...] = (AnalysisConfig(),)
    privacy: PrivacyConfig = PrivacyConfig()
    scheduler: SchedulerConfig = SchedulerConfig()
    api: ApiConfig = ApiConfig()
    sql: SqlConfig = SqlConfig()
    health: HealthConfig = HealthConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @model_validator(mode="before")
    @classmethod
    def _shift_ports(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("profile") == "sidecar":
            for path, port in _PORTS.items():
                section = values
                for key in path:
                    section = section.setdefault(key, {})
                    if not isinstance(section, dict):
                        break
                else:
                    section.setdefault("endpoint", f"127.0.0.1:{port + _SIDECAR_PORT_SHIFT}")
        return values

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        if (second := _second_of_two([analysis.name for analysis in self.analyses])) is not None:
            name = self.analyses[second].name
            raise Misplaced(f"two analyses are called {name!r}", "analyses", second, "name")
        return self

    def analysis(self, name: str) -> AnalysisConfig:
        """The configured analysis, or the defaults under that name. Raises ConfigError for a bad name."""
        for analysis in self.analyses:
            if analysis.name == name:
                return analysis
        if not re.match(NAME_PATTERN, name):
            raise ConfigError(f"{name!r} can't name an analysis: use a-z, 0-9 and _, starting with a letter")
        return AnalysisConfig(name=name)


def parse_analysis(values: dict[str, Any]) -> AnalysisConfig:
    """An analysis from plain values. Raises ConfigError with one line per mistake."""
    try:
        return AnalysisConfig(**values)
    except ValidationError as error:
        name = values.get("name", "")
        lines = [f"analysis {name}: {'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def load(path: Path | None = None) -> Config:
    """The configuration from `path` (default: tracetaxa.yaml if it is there) and the environment.

    Raises ConfigError with one line per mistake, each naming its place and, for unknown keys, the nearest
    known one.
    """
    if path is None:
        path = Path("tracetaxa.yaml")
        text = path.read_text("utf-8") if path.exists() else ""
    else:
        try:
            text = path.read_text("utf-8")
        except OSError as error:
            raise ConfigError(f"can't read the configuration {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"the configuration {path} is not text in UTF-8") from error
    try:
        values = yaml.safe_load(text) or {}
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold sections such as `store:` and `analyses:`")
    _refuse_unknown_environment()
    try:
        return Config(**values)
    except ValidationError as error:
        raise ConfigError("\n".join(_describe(error, path, tree))) from error
    except SettingsError as error:
        raise ConfigError(f"environment: {error}") from error


def _refuse_unknown_environment() -> None:
    prefix = "TRACETAXA_"
    for variable in os.environ:
        if variable.startswith(prefix) and "__" in variable:
            section = variable.removeprefix(prefix).split("__")[0].lower()
            if section not in Config.model_fields:
                raise ConfigError(
                    f"environment variable {variable}: {_unknown(section, list(Config.model_fields))}"
                )


def _describe(error: ValidationError, path: Path, tree: yaml.Node | None) -> Iterator[str]:
    for problem in error.errors():
        location = (*problem["loc"], *getattr(problem.get("ctx", {}).get("error"), "at", ()))
        place = ".".join(str(part) for part in location) or "configuration"
        line = _line(tree, location)
        where = f"{path}:{line}: {place}" if line else f"{path} or environment: {place}"
        if problem["type"] == "extra_forbidden":
            yield f"{where}: {_unknown(str(location[-1]), _known_keys(location[:-1]))}"
        else:
            yield f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def _unknown(key: str, known: list[str], what: str = "key") -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known {what}s: {', '.join(sorted(known))}"
    return f"unknown {what} {key!r}; {hint}"


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Config
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            found = _model_in(model.model_fields[part].annotation)
            if found is None:
                return []
            model = found
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for argument in get_args(annotation) if (model := _model_in(argument))), None)


def _line(node: yaml.Node | None, location: tuple[int | str, ...]) -> int | None:
    line = None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(part)), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line
