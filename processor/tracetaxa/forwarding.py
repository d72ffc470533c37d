"""Forwarding as the configuration asks for it: the destination, the spool, and whose turn it is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from tracetaxa import __version__
from tracetaxa.access import read_headers
from tracetaxa.config import duration_seconds
from tracetaxa.errors import ConfigError, StoreError
from tracetaxa.forward.forwarder import Forwarder
from tracetaxa.forward.rules import Rules
from tracetaxa.forward.spool import MIB, TABLE, SpooledWriter, SpoolKeeper, SpoolState
from tracetaxa.privacy import on_loopback
from tracetaxa.schedule.lease import Lease, LeaseTimes
from tracetaxa_exporter.clickhouse import RawSpanWriter
from tracetaxa_exporter.otlp import Backoff, ClientTls, Destination, ExportFailed, ExportRefused

if TYPE_CHECKING:
    from tracetaxa.config import Config, OtlpConfig
    from tracetaxa.forward.mark import Mark
    from tracetaxa.forward.spool import Oldest, Writer
    from tracetaxa.store.database import ClickHouse
    from tracetaxa_exporter.otlp import ExportClient

log = logging.getLogger(__name__)


class Forwarding:
    """Of all processes on a database one forwards; each looks after the spool.

    `start`, then `run` and `keep` beside each other. Raises ConfigError for files that can't be used.

    turn_seconds: how often a process that does not forward asks whether it is its turn.
    """

    def __init__(
        self,
        config: Config,
        otlp: OtlpConfig,
        store: ClickHouse,
        oldest_open: Oldest,
        *,
        lease_times: LeaseTimes | None = None,
        turn_seconds: float = 5.0,
    ) -> None:
        assembly = config.assembly
        self._store = store
        self._lease_times = lease_times or LeaseTimes()
        self._turn_seconds = turn_seconds
        self._rules = make_rules(config, otlp)
        self._client = make_client(otlp)
        self.spool = SpoolState(otlp.queue.max_mib, otlp.queue.when_full)
        self._forwarder = Forwarder(
            store,
            self._client,
            self._rules,
            Backoff(
                initial_seconds=otlp.retry.initial_seconds,
                max_seconds=otlp.retry.max_seconds,
                max_elapsed_seconds=otlp.retry.max_elapsed_seconds,
            ),
            self.spool,
            tick_seconds=otlp.tick_seconds,
            shutdown_seconds=otlp.shutdown_seconds,
        )
        self._keeper = SpoolKeeper(
            store,
            self._rules,
            self.spool,
            self._forwarder.counts,
            self._forwarder.oldest_pending,
            oldest_open,
            longest_seconds=max(
                assembly.idle_seconds, assembly.orphan_idle_seconds, assembly.max_trace_seconds
            ),
        )
        self.counts = self._forwarder.counts
        self._mark: Mark | None = None
        self._endpoint = otlp.endpoint
        self._in_plain_text_elsewhere = otlp.endpoint.startswith("http:") and not on_loopback(otlp.endpoint)

    async def start(self) -> None:
        """What is closed from now on is forwarded. Raises StoreError."""
        if self._in_plain_text_elsewhere:
            log.warning(
                "exporter.otlp.endpoint %s is not on this machine, and spans go there without TLS",
                self._endpoint,
            )
        self._mark = await self._forwarder.start()

    def spooled(self, spans: Writer, writes: int) -> SpooledWriter:
        """`spans`, whose requests are in the spool first; `writes` of them at a time."""
        mark = self._mark
        assert mark is not None
        spools = [
            RawSpanWriter(self._store.connect(), TABLE, wanted=lambda span: not mark.is_on(span))
            for _ in range(writes)
        ]
        return SpooledWriter(spans, spools, self.spool)

    @property
    def last_error(self) -> str:
        return self._forwarder.last_error

    async def unforwarded(self) -> int:
        return await self._forwarder.unforwarded()

    async def run(self, stopping: asyncio.Event) -> None:
        """Forwards while it is our turn; the connection is closed when it returns."""
        try:
            if self._store.dsn.embedded:  # which one process has to itself
                await self._forwarder.run(stopping)
            else:
                await self._run_in_turn(stopping)
        finally:
            await self._client.close()

    async def keep(self, stopping: asyncio.Event) -> None:
        """Looks after the spool."""
        if self._rules.spooled:
            await self._keeper.run(stopping)

    async def _run_in_turn(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            # A claim of its own each time: one that was given back is void. No analysis can have this name.
            lease = Lease(self._store, f"forwarding to {self._rules.destination}", self._lease_times)
            try:
                if await lease.try_acquire():
                    await self._run_while_ours(lease, stopping)
            except StoreError as error:
                log.debug("the turn to forward can't be asked for now", exc_info=error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._turn_seconds):
                    await stopping.wait()

    async def _run_while_ours(self, lease: Lease, stopping: asyncio.Event) -> None:
        ended = asyncio.Event()
        work = asyncio.create_task(self._forwarder.run(ended))
        keep: asyncio.Task[Any] = asyncio.create_task(lease.keep())
        stop = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({keep, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended.set()
            await work
            keep.cancel()
            stop.cancel()
            await asyncio.gather(keep, stop, return_exceptions=True)
            await lease.release()


def make_rules(config: Config, otlp: OtlpConfig) -> Rules:
    return Rules(
        destination=otlp.name,
        spooled=config.receiver.enabled,
        spans=config.label.spans,
        analyses={a.name: a.agent_only for a in config.analyses if a.label_all},
        timeout_seconds=config.label.timeout_seconds,
        max_age_seconds=duration_seconds(otlp.queue.max_age),
        max_batch_bytes=round(otlp.max_batch_mib * MIB),
        consumers=otlp.consumers,
    )


def make_client(otlp: OtlpConfig) -> ExportClient:
    """Raises ConfigError for files that can't be used."""
    try:
        return make_destination(otlp).client()
    except OSError as error:
        raise ConfigError(f"exporter.otlp.tls: these files can't be used: {error}") from error


async def try_destination(otlp: OtlpConfig) -> str:
    """Sends a request without spans, which every receiver takes; says that it did. Raises ConfigError."""
    client = make_client(otlp)
    try:
        await client.export(b"")
    except (ExportFailed, ExportRefused) as error:
        raise ConfigError(f"{otlp.endpoint} does not take OTLP over {otlp.protocol}: {error}") from error
    finally:
        await client.close()
    return f"{otlp.endpoint} takes OTLP over {otlp.protocol}"


def make_destination(otlp: OtlpConfig) -> Destination:
    """Raises ConfigError."""
    tls = ClientTls(otlp.tls.ca_file, otlp.tls.cert_file, otlp.tls.key_file)
    headers = {name: value.get_secret_value() for name, value in otlp.headers.items()}
    if otlp.headers_file is not None:
        headers |= read_headers(otlp.headers_file, "exporter.otlp.headers_file")
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(f"exporter.otlp: the header {name!r} has characters that no header may have")
    return Destination(
        otlp.endpoint,
        otlp.protocol,
        headers,
        tls,
        otlp.compression == "gzip",
        otlp.timeout_seconds,
        user_agent=f"tracetaxa/{__version__}",
    )
