"""From configuration to a run: which engine, which traces, which question."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tracetaxa.analyze.document import rfc3339
from tracetaxa.analyze.local.engine import LocalEngine
from tracetaxa.analyze.model.engine import ModelEngine
from tracetaxa.analyze.redact import redact_row
from tracetaxa.analyze.run import Job, run_analysis
from tracetaxa.analyze.sample import source_of
from tracetaxa.config import AnalysisConfig, Config, duration_seconds, parse_analysis
from tracetaxa.errors import ConfigError, EngineUnavailable, QueryFailed, QueryRefused
from tracetaxa.llm.chat import OpenAIChat
from tracetaxa.llm.embed import embedder_name, load_embedder
from tracetaxa.llm.prices import ModelPrice, cost_usd, price_table
from tracetaxa.protocols import no_progress
from tracetaxa.records import Selection
from tracetaxa.store.guard import Guard
from tracetaxa.store.replies import StoredReplies

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Literal

    from tracetaxa.protocols import Database, Engine, Progress
    from tracetaxa.records import RunRow, TraceRow, Usage
    from tracetaxa.store.database import ClickHouse


StillOpen = Callable[[str], Awaitable[int]]
"""Unit (`trace` or `session`) → how many of them no analysis can see yet."""
DAY_SECONDS = 86_400
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
    config: Config, name: Literal["openai", "local"], budget_usd: float | None, db: Database
) -> Engine:
    """Raises EngineUnavailable when it can't work here."""
    llm = config.llm
    if name == "local":
        return LocalEngine(load_embedder, models=(embedder_name(),))
    return ModelEngine(
        taxonomy_model=build_chat(config, llm.taxonomy_model, llm.taxonomy_effort),
        assignment_model=build_chat(config, llm.assignment_model, llm.assignment_effort),
        price=partial(cost_usd, provider="", overrides=_overrides(config)),
        budget_usd=budget_usd,
        traces_per_call=llm.traces_per_call,
        digests_per_batch=llm.digests_per_batch,
        discovery_traces=llm.discovery_traces,
        max_output_tokens=llm.max_output_tokens,
        max_attempts=llm.max_attempts,
        max_concurrency=llm.max_concurrency,
        cache=StoredReplies(db, llm.cache_days * DAY_SECONDS) if llm.cache_days else None,
        identity=f"{_base_url(config)} {llm.taxonomy_effort} {llm.assignment_effort}",
    )


def _base_url(config: Config) -> str:
    return config.llm.base_url or os.environ.get("OPENAI_BASE_URL") or ""


def build_chat(config: Config, model: str, effort: str) -> OpenAIChat:
    """One model at the configured endpoint. Raises EngineUnavailable when neither key nor base URL is set."""
    llm = config.llm
    base_url = llm.base_url or os.environ.get("OPENAI_BASE_URL") or None
    key = os.environ.get("OPENAI_API_KEY") or ""
    if not key and base_url is None:
        raise EngineUnavailable(
            "the openai engine needs OPENAI_API_KEY, or a base URL (OPENAI_BASE_URL or llm.base_url); "
            "`--engine local` needs neither"
        )
    return OpenAIChat(
        model=model,
        base_url=base_url,
        # Servers of one's own often want no key, but the client insists on one.
        api_key=key or "none",
        timeout_seconds=llm.timeout_seconds,
        max_attempts=llm.max_attempts,
        max_concurrency=llm.max_concurrency,
        reasoning_effort=None if effort == "default" else effort,
        prices=_overrides(config),
    )


def _overrides(config: Config) -> Mapping[str, ModelPrice]:
    return {name: ModelPrice(price.input, price.output) for name, price in config.llm.prices.items()}


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


def _on_loopback(url: str | None) -> bool:
    host = urlsplit(url or "").hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def must_redact(config: Config, engine: str) -> bool:
    """Whether text is redacted before the engine and the report see it."""
    if config.privacy.redact != "auto":
        return config.privacy.redact == "on"
    return engine == "openai" and not _on_loopback(config.llm.base_url or os.environ.get("OPENAI_BASE_URL"))


def _unchanged(row: TraceRow) -> TraceRow:
    return row


def _updated(analysis: AnalysisConfig, request: RunRequest) -> AnalysisConfig:
    changes: dict[str, Any] = {}
    if request.instructions is not None:
        changes["instructions"] = request.instructions
    sample = {"size": request.sample_size, "seed": request.seed}
    changes["sample"] = analysis.sample.model_dump() | {k: v for k, v in sample.items() if v is not None}
    return parse_analysis(analysis.model_dump() | changes)


async def run_request(
    config: Config,
    db: ClickHouse,
    request: RunRequest,
    *,
    still_open: StillOpen,
    progress: Progress = no_progress,
) -> RunRow:
    """Run one analysis to its end.

    Raises ConfigError, EngineUnavailable and QueryRefused (a `filter.where` that is no plain condition)
    before anything is written; see `run_analysis` for the rest.
    """
    analysis = _updated(request.definition or config.analysis(request.analysis), request)
    name = choose_engine(config, request.engine)
    start_ns, end_ns = request.window_ns(analysis.window)
    selection = await _selection(db, analysis, start_ns, end_ns)
    redact = redact_row if must_redact(config, name) else _unchanged
    engine = build_engine(config, name, analysis.budget.usd, db)
    try:
        job = Job(
            brief=analysis.brief(),
            selection=selection,
            plan=analysis.sample.plan(),
            config=_identity(analysis, engine),
            labeller="llm" if name == "openai" else "local",
            prices=describe_prices(config),
            max_abstained=analysis.max_abstained,
        )
        open_now = await still_open(selection.unit)
        return await run_analysis(db, engine, job, redact=redact, still_open=open_now, progress=progress)
    finally:
        await engine.close()


def _identity(analysis: AnalysisConfig, engine: Engine) -> str:
    """Everything that could change a run's outcome: stored with it and part of its id."""
    identity = analysis.model_dump(mode="json") | {
        "engine": engine.name,
        "models": list(engine.models),
        "prompts": dict(engine.prompt_fingerprints),
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
        await db.rows("check_where", source=source_of(analysis.unit), where=where)
    except (QueryFailed, QueryRefused) as error:
        raise ConfigError(f"analysis {analysis.name}, filter.where: {error}") from error
    return where


async def _selection(db: ClickHouse, analysis: AnalysisConfig, start_ns: int, end_ns: int) -> Selection:
    where = await check_where(db, analysis)
    return Selection(
        start_ns=start_ns,
        end_ns=end_ns,
        agent_only=analysis.agent_only,
        service=analysis.filter.service,
        status=analysis.filter.status,
        tool=analysis.filter.tool,
        feedback_below=analysis.filter.feedback_below,
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
