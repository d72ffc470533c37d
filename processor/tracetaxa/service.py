"""`tracetaxa serve`: every part in one process. Sinks start first and stop last."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from tracetaxa import __version__
from tracetaxa.access import open_store, read_headers, read_token, running_configuration
from tracetaxa.analyze.digests.cutting import sparing
from tracetaxa.analyze.digests.digest import digest
from tracetaxa.analyze.plain_text import truncate
from tracetaxa.analyze.redaction.redact import Redactor
from tracetaxa.api import create_api
from tracetaxa.assemble.assembler import Assembler, ClosingRules
from tracetaxa.assemble.rows import ToRow
from tracetaxa.assemble.sessions import Limits, SessionAssembler
from tracetaxa.assemble.sizes import MIB, ReadLimits
from tracetaxa.config import Config, HttpTlsConfig, duration_seconds, split_endpoint
from tracetaxa.dialects import read_session, read_trace
from tracetaxa.errors import ConfigError, StoreError
from tracetaxa.forwarding import Forwarding
from tracetaxa.jobs import trace_price
from tracetaxa.labelling.asking import Asking
from tracetaxa.labelling.labelling import Labelling
from tracetaxa.labelling.learning import Learning
from tracetaxa.labelling.turn import InTurn
from tracetaxa.privacy import custom_patterns
from tracetaxa.receive import (
    LOGS,
    TRACES,
    Credential,
    ExportService,
    GroupCommit,
    GrpcReceiver,
    HttpReceiver,
    Rejected,
    Room,
    Tls,
)
from tracetaxa.schedule.lease import LeaseTimes
from tracetaxa.schedule.runs import Runs
from tracetaxa.schedule.scheduler import Abandonment, Scheduler
from tracetaxa.store.sql_endpoint import create_app as create_sql_app
from tracetaxa.web import ConnectionLimits, Guarded, WebServer, is_loopback
from tracetaxa.write_back import WriteBack
from tracetaxa_exporter.clickhouse import LogWriter, ServerTooOld, SpanWriter, SpanWriters

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from tracetaxa.assemble.loop import Loop
    from tracetaxa.config import ReceiverAuthConfig, ReceiverConfig, TlsConfig
    from tracetaxa.store.database import ClickHouse
    from tracetaxa.telemetry.refresh import Refresh

log = logging.getLogger(__name__)

DAY_SECONDS = 86_400
SESSION_TICKS = 100
"""Quiet sessions are looked for this often within the time that they must be quiet for."""
HEALTH_SECONDS = 5.0
"""A database that does not answer the health check within this long counts as not working."""


def check_exposure(config: Config, token: str | None) -> None:
    """Raises ConfigError when something would be readable from elsewhere without a token."""
    if token is not None:
        return
    exposed = {"api.endpoint": config.api.endpoint}
    if config.metrics.enabled:
        exposed["metrics.endpoint"] = config.metrics.endpoint
    if config.sql.enabled and config.store.dsn.startswith("chdb:"):
        exposed["sql.endpoint"] = config.sql.endpoint
    for key, endpoint in exposed.items():
        if not is_loopback(split_endpoint(endpoint)[0]):
            raise ConfigError(f"{key} {endpoint} is reachable from elsewhere: set api.token_file first")


def read_credential(auth: ReceiverAuthConfig) -> Credential | None:
    """What senders must carry, None when anyone may send. Raises ConfigError."""
    if auth.bearer_token_file is not None:
        return Credential.read(auth.bearer_token_file, "receiver.auth.bearer_token_file")
    if auth.header is not None:
        return Credential.read(auth.header.value_file, "receiver.auth.header.value_file", auth.header.name)
    return None


def make_tls(tls: TlsConfig | None, key: str) -> Tls | None:
    if tls is None:
        return None
    oldest = tls.min_version if isinstance(tls, HttpTlsConfig) else "1.2"
    return Tls(tls.cert_file, tls.key_file, tls.client_ca_file, oldest, key)


def warn_of_exposure(receiver: ReceiverConfig) -> None:
    """Collectors in a pod send in plain text; whoever lets others in should know."""
    guarded = receiver.auth.bearer_token_file is not None or receiver.auth.header is not None
    for transport, section in (("grpc", receiver.grpc), ("http", receiver.http)):
        if is_loopback(split_endpoint(section.endpoint)[0]):
            continue
        missing = [] if section.tls is not None else ["TLS"]
        if not guarded and (section.tls is None or section.tls.client_ca_file is None):
            missing.append("authentication")
        if missing:
            log.warning(
                "receiver.%s.endpoint %s is reachable from elsewhere without %s (docs/security.md)",
                transport,
                section.endpoint,
                " and ".join(missing),
            )


def make_assembler(config: Config, store: ClickHouse, told: Callable[[], None] = lambda: None) -> Assembler:
    assembly = config.assembly
    return Assembler(
        store,
        read_trace,
        _to_row(config),
        ClosingRules(assembly.idle_seconds, assembly.orphan_idle_seconds, assembly.max_trace_seconds),
        tick_seconds=assembly.tick_seconds,
        batch_traces=assembly.batch_traces,
        limits=ReadLimits(assembly.max_trace_spans, assembly.max_trace_mib * MIB),
        max_attempts=assembly.max_attempts,
        told=told,
    )


def make_session_assembler(config: Config, store: ClickHouse) -> SessionAssembler:
    assembly = config.assembly
    return SessionAssembler(
        store,
        read_session,
        _to_row(config),
        idle_seconds=assembly.session_idle_seconds,
        tick_seconds=max(assembly.tick_seconds, assembly.session_idle_seconds / SESSION_TICKS),
        limits=Limits(
            assembly.max_session_traces, assembly.max_session_spans, assembly.max_session_mib * MIB
        ),
        max_attempts=assembly.max_attempts,
    )


def _to_row(config: Config) -> ToRow:
    assembly = config.assembly
    # No cut leaves a part of what the patterns would hide later, were it whole.
    spared = Redactor(patterns=custom_patterns(config.privacy)).hidden_across
    return ToRow(
        sparing(spared, partial(digest, max_tokens=assembly.digest_tokens)),
        partial(trace_price, config),
        sparing(spared, partial(truncate, limit=assembly.max_text_chars)),
    )


async def count_open(assembler: Assembler, sessions: SessionAssembler, unit: str) -> int:
    """Traces, or sessions, that no analysis can see yet."""
    return await (sessions.open_sessions() if unit == "session" else assembler.open_traces())


class Service:
    """Everything that `serve` runs, in the order in which it starts."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.endpoints: dict[str, str] = {}
        self._token = read_token(config)
        check_exposure(config, self._token)
        self._started_ns = time.time_ns()
        self._exports: tuple[ExportService[Any, Any], ...] = ()
        self._assembler: Assembler | None = None
        self._sessions: SessionAssembler | None = None
        self._scheduler: Scheduler | None = None
        self._forwarding: Forwarding | None = None
        self._labelling: Labelling | None = None
        self._label_loops: tuple[Loop, ...] = ()
        self._write_back: WriteBack | None = None
        self._metrics: Refresh | None = None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Inside, spans are taken and questions answered. After, nothing acknowledged is lost."""
        async with contextlib.AsyncExitStack() as stack:
            store = await asyncio.to_thread(open_store, self.config, "serve")
            stack.push_async_callback(asyncio.to_thread, store.close)
            wake = await self._start_labelling(stack, store)
            assembler = self._assembler = make_assembler(self.config, store, wake)
            await stack.enter_async_context(_background(assembler.run))
            await self._start_forwarding(stack, store, assembler)
            sessions = self._sessions = make_session_assembler(self.config, store)
            await stack.enter_async_context(_background(sessions.run))
            runs = Runs(self.config, store, partial(count_open, assembler, sessions))
            self._scheduler = Scheduler(self.config, store, runs, assembler.oldest_open)
            await self._start_write_back(stack, store)
            await self._start_web(stack, store, runs)
            await self._start_metrics(stack, store, assembler)
            if self.config.receiver.enabled:
                await self._start_receiver(stack, store)
            await self._start_runs(stack, store, self._scheduler)
            if store.ownership is not None:
                store.ownership.publish("serve", self.endpoints, running_configuration(self.config))
            gc.freeze()  # what lives as long as the service is not looked at again and again
            yield

    async def _start_labelling(
        self, stack: contextlib.AsyncExitStack, store: ClickHouse
    ) -> Callable[[], None]:
        """Returns what whoever closes traces is to call."""
        if not any(analysis.label_all for analysis in self.config.analyses):
            return lambda: None
        asking = Asking(self.config, store) if self.config.label.ask_model else None
        learning = Learning(self.config, store)
        labelling = self._labelling = Labelling(self.config, store, asking, relearn=learning.again)
        learning.told = labelling.wake
        self._label_loops = (labelling, learning, *((asking,) if asking else ()))
        if store.dsn.embedded:  # which one process has
            for loop in self._label_loops:
                await stack.enter_async_context(_background(loop.run))
        else:
            lease = self.config.scheduler
            times = LeaseTimes(lease.lease_seconds, lease.claim_seconds)
            await stack.enter_async_context(_background(InTurn(store, self._label_loops, times).run))
        return labelling.wake

    async def _start_forwarding(
        self, stack: contextlib.AsyncExitStack, store: ClickHouse, assembler: Assembler
    ) -> None:
        """Before the receiver, whose spans it spools; it stops after it."""
        if (otlp := self.config.exporter.otlp) is None:
            return
        forwarding = self._forwarding = Forwarding(self.config, otlp, store, assembler.oldest_open)
        await forwarding.start()
        await stack.enter_async_context(_background(forwarding.run))
        await stack.enter_async_context(_background(forwarding.keep))

    async def _start_write_back(self, stack: contextlib.AsyncExitStack, store: ClickHouse) -> None:
        label = self.config.label
        if label.write_back == "off":
            return
        self._write_back = WriteBack(
            store,
            label.write_back,
            root_only=label.spans == "root",
            tick_seconds=label.write_back_seconds,
            batch_traces=label.write_back_traces,
        )
        await stack.enter_async_context(_background(self._write_back.run))

    async def _start_metrics(
        self, stack: contextlib.AsyncExitStack, store: ClickHouse, assembler: Assembler
    ) -> None:
        metrics = self.config.metrics
        if not metrics.enabled:
            return
        # Libraries that nobody else needs.
        from tracetaxa.telemetry.events import NewCategories
        from tracetaxa.telemetry.instruments import create_instruments
        from tracetaxa.telemetry.refresh import Refresh
        from tracetaxa.telemetry.telemetry import Telemetry

        otlp = metrics.otlp
        secret = otlp.headers_file if otlp is not None else None
        headers = read_headers(secret, "metrics.otlp.headers_file") if secret is not None else {}
        telemetry = Telemetry(otlp, headers)
        stack.push_async_callback(asyncio.to_thread, telemetry.close)
        refresh = self._metrics = Refresh(
            store,
            NewCategories(store, self._started_ns, telemetry.emit),
            window_seconds=duration_seconds(metrics.window),
            refresh_seconds=metrics.refresh_seconds,
            max_categories=metrics.max_categories,
            open_traces=assembler.open_traces,
            write_back_waiting=self._write_back.waiting if self._write_back else None,
        )
        create_instruments(
            telemetry.meter,
            lambda: refresh.figures,
            lambda: {service.signal.items: service.counts for service in self._exports},
        )
        if self._forwarding is not None:
            from tracetaxa.telemetry.forwarded import create_forward_instruments

            create_forward_instruments(telemetry.meter, self._forwarding.counts, self._forwarding.spool)
        await stack.enter_async_context(_background(refresh.run))
        server = WebServer(Guarded(telemetry.app(), self._token), metrics.endpoint, "metrics.endpoint")
        stack.push_async_callback(server.shutdown)
        self.endpoints["metrics"] = await server.start()

    async def _start_runs(
        self, stack: contextlib.AsyncExitStack, store: ClickHouse, scheduler: Scheduler
    ) -> None:
        """Last: a service that can't start must not begin runs."""
        if not store.dsn.embedded:  # of an embedded database, opening it has done that
            await stack.enter_async_context(_background(Abandonment(self.config, store).run))
        if self.config.scheduler.enabled:
            await stack.enter_async_context(_background(scheduler.run))

    async def _start_receiver(self, stack: contextlib.AsyncExitStack, store: ClickHouse) -> None:
        receiver = self.config.receiver
        # Older rows would be dropped as they are stored: their senders are told instead.
        max_age_seconds = self.config.store.retention_days * DAY_SECONDS
        spans = SpanWriters(
            [
                SpanWriter(store.connect(), max_age_seconds=max_age_seconds)
                for _ in range(receiver.max_writes)
            ],
            keep_raw=self._forwarding is not None,
        )
        try:
            await asyncio.to_thread(spans.check)
        except ServerTooOld as error:
            raise ConfigError(str(error)) from error
        logs = LogWriter(store.connect(), max_age_seconds=max_age_seconds)
        room = Room(receiver.max_in_flight_mib, receiver.max_concurrent_requests)
        group_commit = partial(
            GroupCommit,
            linger_ms=receiver.linger_ms,
            max_batch_items=receiver.max_batch_spans,
            room=room,
            retry_after_seconds=receiver.retry_after_seconds,
        )
        span_commit: GroupCommit[Any, Rejected]
        log_commit: GroupCommit[bytes, Rejected]
        writer = self._forwarding.spooled(spans, receiver.max_writes) if self._forwarding else spans
        span_commit = group_commit(writer.write, items=TRACES.items, max_writes=receiver.max_writes)
        log_commit = group_commit(logs.write, items=LOGS.items)
        stack.push_async_callback(_drain, (span_commit, log_commit), receiver.shutdown_seconds)
        self._exports = (ExportService(TRACES, span_commit, spans.read), ExportService(LOGS, log_commit))
        credential = read_credential(receiver.auth)
        grpc = GrpcReceiver(
            self._exports,
            endpoint=receiver.grpc.endpoint,
            tls=make_tls(receiver.grpc.tls, "receiver.grpc.tls"),
            credential=credential,
            room=room,
            max_recv_msg_size_mib=receiver.grpc.max_recv_msg_size_mib,
            max_concurrent_streams=receiver.grpc.max_concurrent_streams,
            read_seconds=receiver.read_seconds,
            retry_after_seconds=receiver.retry_after_seconds,
        )
        tls = make_tls(receiver.http.tls, "receiver.http.tls")
        http = WebServer(
            HttpReceiver(
                self._exports,
                credential=credential,
                room=room,
                max_body_mib=receiver.http.max_body_mib,
                read_seconds=receiver.read_seconds,
                retry_after_seconds=receiver.retry_after_seconds,
            ),
            receiver.http.endpoint,
            "receiver.http.endpoint",
            receiver.shutdown_seconds,
            context=tls.context() if tls is not None else None,
            limits=ConnectionLimits(
                receiver.http.max_connections, receiver.http.header_seconds, receiver.http.idle_seconds
            ),
        )
        stack.push_async_callback(_shutdown, grpc, http, receiver.shutdown_seconds)
        self.endpoints["grpc"] = await grpc.start()
        self.endpoints["http"] = await http.start()
        warn_of_exposure(receiver)

    async def _start_web(self, stack: contextlib.AsyncExitStack, store: ClickHouse, runs: Runs) -> None:
        config = self.config
        api = create_api(config, store, partial(self.status, store), runs, self._token)
        servers = {"api": WebServer(api, config.api.endpoint, "api.endpoint")}
        if config.sql.enabled and store.dsn.embedded:
            sql = create_sql_app(
                store.connect,
                config.store.database,
                token=self._token,
                max_execution_seconds=config.sql.max_execution_seconds,
                max_memory_mib=config.sql.max_memory_mib,
                max_result_mib=config.sql.max_result_mib,
                max_concurrency=config.sql.max_concurrency,
            )
            stack.callback(sql.state.pool.close)
            servers["sql"] = WebServer(sql, config.sql.endpoint, "sql.endpoint")
        if config.health.enabled:
            health = Starlette(routes=[Route("/", partial(self._health, store))])
            servers["health"] = WebServer(health, config.health.endpoint, "health.endpoint")
        stack.push_async_callback(_stop_together, servers.values())
        for name, server in servers.items():
            self.endpoints[name] = await server.start()

    async def status(self, store: ClickHouse) -> dict[str, Any]:
        """`GET /v1/status`; its shape is a contract."""
        counts = (await store.rows("status"))[0]
        assembler = self._assembler
        parts = (
            *(*self._exports, assembler, self._sessions, self._scheduler),
            *(*self._label_loops, self._forwarding),
            *(self._write_back, self._metrics),
        )
        errors = [part.last_error for part in parts if part and part.last_error]
        return {
            "version": __version__,
            "uptime_seconds": (time.time_ns() - self._started_ns) // 10**9,
            "open_traces": await assembler.open_traces() if assembler else 0,
            "closed_traces": counts["closed_traces"],
            "unlabelled": await self._labelling.unlabelled() if self._labelling else 0,
            "unforwarded": await self._forwarding.unforwarded() if self._forwarding else 0,
            "write_back": await self._write_back.status() if self._write_back else None,
            "last_error": errors[0] if errors else None,
            "schedules": await self._scheduler.status() if self._scheduler else [],
        }

    async def _health(self, store: ClickHouse, request: Request) -> Response:
        try:
            async with asyncio.timeout(HEALTH_SECONDS):
                await store.rows("ping")
        except (StoreError, TimeoutError) as error:
            problem = str(error) or "no answer from ClickHouse"
            return JSONResponse({"status": "unavailable", "error": problem}, status_code=503)
        if self.config.receiver.enabled and "http" not in self.endpoints:
            return JSONResponse({"status": "starting"}, status_code=503)
        return JSONResponse({"status": "ok"})


async def _shutdown(grpc: GrpcReceiver, http: WebServer, grace_seconds: float) -> None:
    await asyncio.gather(grpc.shutdown(grace_seconds), http.shutdown())


async def _stop_together(servers: Iterable[WebServer]) -> None:
    await asyncio.gather(*(server.shutdown() for server in servers))


async def _drain(commits: Sequence[GroupCommit[Any, Any]], deadline_seconds: float) -> None:
    await asyncio.gather(*(commit.drain(deadline_seconds) for commit in commits))


@contextlib.asynccontextmanager
async def _background(run: Callable[[asyncio.Event], Any]) -> AsyncIterator[None]:
    """Runs a loop beside the block; after the block it is told to stop and waited for."""
    stopping = asyncio.Event()
    task = asyncio.create_task(run(stopping))
    try:
        yield
    finally:
        stopping.set()
        await task


def ready_line(service: Service) -> dict[str, Any]:
    """What `serve` prints when ingest works: a contract."""
    return {"event": "ready", "pid": os.getpid(), "endpoints": service.endpoints}
