"""From configuration to a run: which engine, which traces, which question."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from tracetaxa.analyze.audit import AuditPlan
from tracetaxa.analyze.findings.languages import load_detector
from tracetaxa.analyze.job import Job, Stop
from tracetaxa.analyze.local.engine import LocalEngine
from tracetaxa.analyze.model.budget import NO_LIMIT, Amount
from tracetaxa.analyze.model.engine import ModelEngine
from tracetaxa.analyze.model.quote import Quote, Rehearsal
from tracetaxa.analyze.model.stand_in import StandIn
from tracetaxa.analyze.previous import previous_categories
from tracetaxa.analyze.results.document import rfc3339
from tracetaxa.analyze.run import plan_analysis, rehearse_analysis, run_analysis
from tracetaxa.analyze.sampling.sample import source_of
from tracetaxa.config import AnalysisConfig, Config, duration_seconds, parse_analysis
from tracetaxa.errors import ConfigError, EngineUnavailable, QueryFailed, QueryRefused
from tracetaxa.llm.embed import embedder_name, load_embedder
from tracetaxa.llm.pace import Pace
from tracetaxa.llm.prices import ModelPrice, cost_usd, price_table
from tracetaxa.llm.tokens import TOKENIZER, estimate_tokens
from tracetaxa.privacy import build_redactor, must_redact, privacy_identity
from tracetaxa.protocols import no_progress
from tracetaxa.records import Selection, Standing
from tracetaxa.store.guard import Guard
from tracetaxa.store.replies import StoredReplies
from tracetaxa.store.wording import in_short

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

    from tracetaxa.analyze.model.budget import Price
    from tracetaxa.analyze.model.quote import Use
    from tracetaxa.analyze.redaction.redact import Redactor
    from tracetaxa.analyze.run import Redact
    from tracetaxa.llm.chat import OpenAIChat
    from tracetaxa.protocols import ChatModel, Database, Engine, ReplyCache, Watcher
    from tracetaxa.records import Category, RunRow, TraceRow, Usage
    from tracetaxa.store.database import ClickHouse


StillOpen = Callable[[str], Awaitable[int]]
"""Unit (`trace` or `session`) → how many of them no analysis can see yet."""
DAY_SECONDS = 86_400
_NO_AUDIT = AuditPlan(absent="the local engine gives the same answer each time it is asked")
LATEST_NS = 2**63 - 1
"""Times are 64-bit nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a caller of `analyze` may set; None leaves the configured value."""

    analysis: str
    instructions: str | None = None
    window_start_ns: int | None = None
    window_end_ns: int | None = None
    window: str | None = None
    engine: str | None = None
    sample_size: int | None = None
    seed: int | None = None
    stability: bool | None = None
    """Whether the categories of two half samples are compared."""
    definition: AnalysisConfig | None = None
    """The analysis as the caller has it configured; None: as this process has."""

    def window_ns(self, configured: str) -> tuple[int, int]:
        """[start, end) in nanoseconds: both ends as given, or one and a length. Raises ConfigError."""
        start, end = self.window_start_ns, self.window_end_ns
        if start is not None and end is not None and self.window is not None:
            raise ConfigError("a window has a start and an end, or one of them and a length: not all three")
        try:
            length = duration_seconds(self.window or configured) * 10**9
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if start is not None and end is None and self.window is not None:
            end = start + length
        end = time.time_ns() if end is None else end
        start = end - length if start is None else start
        if start >= end:
            raise ConfigError("the window is empty: its start is not before its end")
        if start < 0 or end >= LATEST_NS:
            raise ConfigError("the window must lie between 1970 and 2262")
        return start, end


def parse_time(text: str) -> int:
    """RFC 3339 → nanoseconds; a time without an offset is UTC. Raises ConfigError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{text!r} is not a time such as 2026-11-22T10:00:00Z") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86400 + delta.seconds) * 10**9 + delta.microseconds * 1000


def choose_engine(config: Config, wanted: str | None = None) -> Literal["openai", "local"]:
    """`auto` is the model when a key or base URL is set."""
    engine = wanted or config.llm.engine
    if engine == "auto":
        given = config.llm.base_url or os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL")
        return "openai" if given else "local"
    if engine not in ("openai", "local"):
        raise ConfigError(f"unknown engine {engine!r}: use auto, openai or local")
    return engine  # type: ignore[return-value]


def build_engine(
    config: Config,
    name: Literal["openai", "local"],
    db: Database,
    limit: Amount = NO_LIMIT,
    rehearsal: Rehearsal | None = None,
) -> Engine:
    """Its calls use no more than `limit`; with a rehearsal, none is made. Raises EngineUnavailable when it
    can't work here."""
    llm = config.llm
    if name == "local":
        return LocalEngine(load_embedder, models=(embedder_name(),))
    cache: ReplyCache | None = StoredReplies(db, llm.cache_days * DAY_SECONDS) if llm.cache_days else None
    taxonomy_model: ChatModel
    assignment_model: ChatModel
    if rehearsal is not None:
        taxonomy_model, assignment_model = map(rehearsal.model, (llm.taxonomy_model, llm.assignment_model))
        cache = rehearsal.cache(cache) if cache else None
    else:
        # One model is asked at one pace, whatever for.
        paces = {model: _pace(config) for model in (llm.taxonomy_model, llm.assignment_model)}
        taxonomy_model = build_chat(
            config, llm.taxonomy_model, llm.taxonomy_effort, paces[llm.taxonomy_model]
        )
        assignment_model = build_chat(
            config, llm.assignment_model, llm.assignment_effort, paces[llm.assignment_model]
        )
    return ModelEngine(
        taxonomy_model=taxonomy_model,
        assignment_model=assignment_model,
        price=_price(config),
        limit=limit,
        count=estimate_tokens,
        traces_per_call=llm.traces_per_call,
        digests_per_batch=llm.digests_per_batch,
        discovery_traces=llm.discovery_traces,
        max_output_tokens=llm.max_output_tokens,
        max_attempts=llm.max_attempts,
        max_concurrency=llm.max_concurrency,
        max_data_tokens=llm.max_data_tokens,
        few_shot=llm.few_shot,
        cache=cache,
        identity=f"{_base_url(config)} {llm.taxonomy_effort} {llm.assignment_effort}",
    )


def _base_url(config: Config) -> str:
    return config.llm.base_url or os.environ.get("OPENAI_BASE_URL") or ""


def _price(config: Config) -> Price:
    return partial(cost_usd, provider="", overrides=_overrides(config))


def _pace(config: Config) -> Pace:
    llm = config.llm
    return Pace(
        llm.max_concurrency,
        requests_per_minute=llm.requests_per_minute,
        tokens_per_minute=llm.tokens_per_minute,
    )


def check_endpoint(config: Config) -> None:
    """Raises EngineUnavailable when neither key nor base URL is set."""
    if not os.environ.get("OPENAI_API_KEY") and not _base_url(config):
        raise EngineUnavailable(
            "the openai engine needs OPENAI_API_KEY, or a base URL (OPENAI_BASE_URL or llm.base_url); "
            "`--engine local` needs neither"
        )


def build_chat(config: Config, model: str, effort: str, pace: Pace | None = None) -> OpenAIChat:
    """One model at the configured endpoint. Raises EngineUnavailable when neither key nor base URL is set."""
    from tracetaxa.llm.chat import OpenAIChat  # half a second that only a model costs

    check_endpoint(config)
    llm = config.llm
    return OpenAIChat(
        model=model,
        base_url=_base_url(config) or None,
        # Servers of one's own often want no key, but the client insists on one.
        api_key=os.environ.get("OPENAI_API_KEY") or "none",
        timeout_seconds=llm.timeout_seconds,
        max_attempts=llm.max_attempts,
        max_wait_seconds=llm.max_wait_seconds,
        pace=pace or _pace(config),
        reasoning_effort=None if effort == "default" else effort,
        prices=_overrides(config),
    )


def _overrides(config: Config) -> Mapping[str, ModelPrice]:
    prices = config.llm.prices
    return {name: ModelPrice(p.input, p.output, p.cached_input) for name, p in prices.items()}


def describe_prices(config: Config) -> str:
    """Which price table is in use, of what date, and how many prices the configuration sets."""
    table = price_table()
    newest = f", newest price of {table.newest.isoformat()}" if table.newest else ""
    own = len(config.llm.prices)
    return f"genai-prices {table.version}{newest}" + (f"; {own} set by llm.prices" if own else "")


def trace_price(config: Config, usage: Usage) -> float | None:
    """US dollars of one model call: by the configured or listed price, else as its span says, else None.

    A call that says nothing of its tokens is not free.
    """
    if not usage.input_tokens and not usage.output_tokens:
        return usage.stated_usd
    priced = cost_usd(
        usage.model,
        usage.provider,
        usage.input_tokens,
        usage.output_tokens,
        cached_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        overrides=_overrides(config),
    )
    return usage.stated_usd if priced is None else priced


def _unchanged(row: TraceRow) -> TraceRow:
    return row


def _updated(analysis: AnalysisConfig, request: RunRequest) -> AnalysisConfig:
    changes: dict[str, Any] = {}
    if request.instructions is not None:
        changes["instructions"] = request.instructions
    if request.stability is not None:
        changes["audit"] = analysis.audit.model_dump() | {"stability": request.stability}
    sample = {"size": request.sample_size, "seed": request.seed}
    changes["sample"] = analysis.sample.model_dump() | {k: v for k, v in sample.items() if v is not None}
    return parse_analysis(analysis.model_dump() | changes)


@dataclass(frozen=True, slots=True)
class QuotedRun:
    """A run that was not made, and what it would cost."""

    run: RunRow
    """As it would begin; or the finished one, when it is not made twice."""
    quote: Quote
    """Without stages when no model would be asked."""
    unit: str


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A run as it will be made, short of its engine."""

    config: Config
    db: ClickHouse
    analysis: AnalysisConfig
    engine: Literal["openai", "local"]
    selection: Selection
    still_open: int
    redactor: Redactor | None
    redact: Redact
    previous: tuple[Category, ...]

    def job(self, engine: Engine) -> Job:
        return Job(
            brief=replace(
                self.analysis.brief(), previous=self.previous, verbatim=self.config.privacy.min_users <= 1
            ),
            selection=self.selection,
            plan=self.analysis.sample.plan(),
            config=_identity(self.analysis, engine, privacy_identity(self.config, self.engine)),
            labeller="llm" if self.engine == "openai" else "local",
            prices=describe_prices(self.config),
            max_abstained=self.analysis.max_abstained,
            audit=self.analysis.audit.plan() if self.engine == "openai" else _NO_AUDIT,
            stability_size=self.analysis.audit.stability_size if self.analysis.audit.stability else 0,
            thin_duplicates=self.analysis.sample.thin_duplicates and self.engine == "openai",
            load_languages=load_detector,
            min_users=self.config.privacy.min_users,
            redact_text=self.redactor.name if self.redactor else str,
        )


async def _wanted(config: Config, db: ClickHouse, request: RunRequest, still_open: StillOpen) -> _Wanted:
    analysis = _updated(request.definition or config.analysis(request.analysis), request)
    name = choose_engine(config, request.engine)
    if name == "local" and (kept := [a.name for a in analysis.attributes if a.keep]):
        raise ConfigError(
            f"analysis {analysis.name}: attributes.{kept[0]}.keep needs a model, since the local engine "
            "extracts no attributes and would leave out every trace; set a model (llm), or filter by what is "
            "stored"
        )
    start_ns, end_ns = request.window_ns(analysis.window)
    selection = await selection_of(db, analysis, start_ns, end_ns)
    redactor = build_redactor(config.privacy) if must_redact(config, name) else None
    return _Wanted(
        config=config,
        db=db,
        analysis=analysis,
        engine=name,
        selection=selection,
        still_open=await still_open(selection.unit),
        redactor=redactor,
        redact=_once(redactor) if redactor else _unchanged,
        previous=await previous_categories(db, analysis.name, analysis.instructions, selection, name),
    )


def _once(redact: Redact) -> Redact:
    """Redaction may be slow, and a run is rehearsed before it is made."""
    known: dict[tuple[str, int], TraceRow] = {}

    def remembered(row: TraceRow) -> TraceRow:
        key = (row.trace_id, row.revision)
        if key not in known:
            known[key] = redact(row)
        return known[key]

    return remembered


async def run_request(
    config: Config,
    db: ClickHouse,
    request: RunRequest,
    *,
    still_open: StillOpen,
    progress: Watcher = no_progress,
    stop: Stop | None = None,
) -> RunRow:
    """Run one analysis to its end.

    Raises ConfigError, EngineUnavailable and QueryRefused (a `filter.where` that is no plain condition)
    before anything is written; see `run_analysis` for the rest.
    """
    wanted = await _wanted(config, db, request, still_open)
    limit, quote = NO_LIMIT, None
    if wanted.engine == "openai":
        check_endpoint(config)
        progress("quote", 0, 1)
        quote, _ = await _rehearse(wanted)
        progress("quote", 1, 1)
        limit = quote.limit
    engine = await asyncio.to_thread(build_engine, config, wanted.engine, db, limit)

    def told(stage: str, done: int, total: int) -> None:
        progress(stage, done, total, _standing(engine, quote) if quote else None)

    try:
        return await run_analysis(
            db,
            engine,
            wanted.job(engine),
            redact=wanted.redact,
            still_open=wanted.still_open,
            progress=told,
            stop=stop,
        )
    finally:
        await engine.close()


async def quote_request(
    config: Config, db: ClickHouse, request: RunRequest, *, still_open: StillOpen
) -> QuotedRun:
    """What `run_request` would cost. Nothing is written, and no model is called. Raises as it does."""
    wanted = await _wanted(config, db, request, still_open)
    if wanted.engine == "openai":
        quote, run = await _rehearse(wanted)
        return QuotedRun(run, quote, wanted.selection.unit)
    engine = await asyncio.to_thread(build_engine, config, wanted.engine, db)
    try:
        job = wanted.job(engine)
        run = await plan_analysis(db, engine, job, still_open=wanted.still_open)
    finally:
        await engine.close()
    return QuotedRun(run, Quote(budget_usd=wanted.analysis.budget.usd), wanted.selection.unit)


async def _rehearse(wanted: _Wanted) -> tuple[Quote, RunRow]:
    config, budget = wanted.config, wanted.analysis.budget
    rehearsal = Rehearsal(
        StandIn(wanted.analysis.brief()),
        count=estimate_tokens,
        price=_price(config),
        max_output_tokens=config.llm.max_output_tokens,
    )
    engine = await asyncio.to_thread(
        build_engine, config, wanted.engine, wanted.db, Amount(usd=budget.usd), rehearsal
    )
    run = await rehearse_analysis(
        wanted.db,
        engine,
        wanted.job(engine),
        redact=wanted.redact,
        still_open=wanted.still_open,
        progress=rehearsal.progress,
    )
    return rehearsal.quote(overrun=budget.overrun, budget_usd=budget.usd), run


def _standing(engine: Engine, quote: Quote) -> Standing:
    spend, expected = engine.spend, quote.expected
    return Standing(
        calls=spend.calls,
        expected_calls=expected.calls,
        cached_calls=spend.cached_calls,
        input_tokens=spend.input_tokens,
        output_tokens=spend.output_tokens,
        cost_usd=spend.cost_usd if engine.prices_known else None,
        expected_usd=expected.usd,
        most_usd=quote.limit.usd,
    )


def _identity(analysis: AnalysisConfig, engine: Engine, privacy: Mapping[str, Any]) -> str:
    """Everything that could change a run's outcome: stored with it and part of its id."""
    identity = analysis.model_dump(mode="json", exclude={"schedule", "time_zone", "label_all"}) | {
        "engine": engine.name,
        "models": list(engine.models),
        "prompts": dict(engine.prompt_fingerprints),
        "privacy": dict(privacy),
    }
    return json.dumps(identity, sort_keys=True)


async def check_where(db: ClickHouse, analysis: AnalysisConfig) -> str:
    """The analysis' free condition, canonical; empty when there is none. Raises ConfigError for a bad one."""
    if not analysis.filter.where:
        return ""

    def checked() -> str:
        with db.reader() as client:
            return Guard(client, db.database).check_condition(analysis.filter.where)

    try:
        where = await asyncio.to_thread(checked)
        await db.rows("analysis/check_where", source=source_of(analysis.unit), where=where)
    except (QueryFailed, QueryRefused) as error:
        raise ConfigError(f"analysis {analysis.name}, filter.where: {in_short(str(error))}") from error
    return where


async def selection_of(db: ClickHouse, analysis: AnalysisConfig, start_ns: int, end_ns: int) -> Selection:
    """Its traces (or sessions) that start in [start_ns, end_ns). Raises ConfigError for a bad condition."""
    where = await check_where(db, analysis)
    return Selection(
        start_ns=start_ns,
        end_ns=end_ns,
        agent_only=analysis.agent_only,
        service=analysis.filter.service,
        status=analysis.filter.status,
        tool=analysis.filter.tool,
        min_ms=analysis.filter.min_seconds * 1000,
        max_ms=None if analysis.filter.max_seconds is None else analysis.filter.max_seconds * 1000,
        feedback=analysis.filter.feedback,
        feedback_below=analysis.filter.feedback_below,
        feedback_above=analysis.filter.feedback_above,
        attributes=analysis.filter.attributes,
        where=where,
        unit=analysis.unit,
    )


def result_json(run: RunRow) -> dict[str, Any]:
    """What `tracetaxa analyze --format json` and `GET /v1/runs/{id}` print: a contract, see docs/cli.md."""
    return {
        "run_id": run.run_id,
        "analysis": run.analysis,
        "status": run.status,
        "window_start": rfc3339(run.window_start_ns),
        "window_end": rfc3339(run.window_end_ns),
        "engine": run.engine,
        "selected": run.traces_selected,
        "sampled": run.traces_sampled,
        "labelled": run.traces_labelled,
        "abstained": run.traces_abstained,
        "still_open": run.still_open,
        "input_tokens": run.input_tokens,
        "output_tokens": run.output_tokens,
        "cost_usd": run.cost_usd,
        "report_path": f"/reports/{run.run_id}",
        "error": run.error or None,
    }


def quote_json(quoted: QuotedRun) -> dict[str, Any]:
    """What `tracetaxa analyze --dry-run --format json` and `POST /v1/quotes` print: see docs/cli.md."""
    run, quote = quoted.run, quoted.quote
    limit = quote.limit
    finished = run.status == "complete"
    return {
        "analysis": run.analysis,
        "engine": run.engine,
        "models": list(run.models),
        "window_start": rfc3339(run.window_start_ns),
        "window_end": rfc3339(run.window_end_ns),
        "unit": quoted.unit,
        "selected": run.traces_selected,
        "sampled": run.traces_sampled,
        "still_open": run.still_open,
        "finished_run_id": run.run_id if finished else None,
        "tokenizer": TOKENIZER,
        "stages": [{"stage": s.name, "model": s.model, **_use_json(s.use)} for s in quote.stages],
        "expected": _use_json(quote.expected),
        "maximum": {
            "input_tokens": limit.input_tokens,
            "output_tokens": limit.output_tokens,
            "cost_usd": limit.usd,
        },
        "saved": _use_json(quote.saved),
        "budget_usd": quote.budget_usd,
        "affordable": None if finished else quote.affordable(run.traces_sampled),
    }


def _use_json(use: Use) -> dict[str, Any]:
    return {
        "calls": use.calls,
        "input_tokens": use.input_tokens,
        "cached_input_tokens": use.cached_tokens,
        "output_tokens": use.output_tokens,
        "cost_usd": use.usd,
    }
