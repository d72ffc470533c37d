"""Several services on one ClickHouse server: one run of a window, resumed by whoever is left.

The services are in this process, each with its own connections to the engine behind its HTTP interface; killed
processes are in tests/e2e/test_schedules.py.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import clickhouse_connect
import pytest

from clickhouse_http import PASSWORD
from factories import trace_row
from tracetaxa.config import Config
from tracetaxa.errors import RunFailed, StoreUnavailable
from tracetaxa.jobs import RunRequest, parse_time
from tracetaxa.records import ABANDONED, SUSPENDED, RunRow
from tracetaxa.schedule.history import run_history
from tracetaxa.schedule.runs import Runs
from tracetaxa.schedule.scheduler import Abandonment, ScheduledRunRow, Scheduler
from tracetaxa.store.database import ClickHouse
from tracetaxa.store.dsn import parse_dsn
from tracetaxa.store.migrate import migrate
from tracetaxa.testing import Oracle, ScriptedModel
from tracetaxa_exporter.clickhouse import create_tables

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from clickhouse_http import ClickHouseServer

TRACES = 24
CONCURRENCY = 2
CALL_SECONDS = 0.02
DEADLINE_SECONDS = 60
KINDS = {"refund": ("Refunds", "Late refund"), "parcel": ("Deliveries", "Lost parcel")}
NIGHT = "2026-11-16T03:00:00Z"
REQUEST = RunRequest("topics", window_end_ns=parse_time(NIGHT))


class SlowModel(ScriptedModel):
    """Knows the kinds. After `held_after` answers it gives no more until it is `released`."""

    def __init__(self) -> None:
        self.held_after = float("inf")
        self.released = threading.Event()
        oracle = Oracle(lambda digest: next((kind for word, kind in KINDS.items() if word in digest), None))

        def answer(messages: Any, schema: Any) -> Any:
            time.sleep(CALL_SECONDS)
            if self.usage.calls >= self.held_after:
                self.released.wait(DEADLINE_SECONDS)
            return oracle(messages, schema)

        super().__init__(answer)


class Site:
    """A database on the server with the traces of a night, and services on it that ask `model`."""

    calls_in_peace: ClassVar[int] = 0

    def __init__(self, server: ClickHouseServer, name: str, model: SlowModel) -> None:
        self._dsn = parse_dsn(server.dsn())
        self._name = name
        self.model = model
        self.lease_seconds = 60.0
        self.opened: list[ClickHouse] = []

    def open(self) -> ClickHouse:
        self.opened.append(ClickHouse.open(self._dsn, self._name, readers=2))
        return self.opened[-1]

    def config(self, analysis: str = "topics") -> Config:
        values: dict[str, Any] = {
            "llm": {
                "engine": "openai",
                "base_url": self.model.base_url,
                "traces_per_call": 4,
                "digests_per_batch": 6,
                "max_concurrency": CONCURRENCY,
            },
            "analyses": [{"name": analysis, "schedule": "0 3 * * *", "audit": {"size": 0}}],
            "scheduler": {
                "settle_seconds": 0,
                "jitter_seconds": 0,
                "tick_seconds": 0.1,
                "lease_seconds": self.lease_seconds,
                "claim_seconds": 0.05,
            },
        }
        return Config(**values)

    def runs(self, store: ClickHouse | None = None) -> Runs:
        return Runs(self.config(), store or self.open(), nothing_open)

    def service(self, name: str) -> Scheduler:
        store = self.open()
        now = parse_time("2026-11-16T03:30:00Z")
        return Scheduler(self.config(), store, self.runs(store), none_open, clock=lambda: now, instance=name)

    async def history(self, analysis: str = "topics") -> list[dict[str, Any]]:
        return await run_history(self.opened[0], analysis, 10)

    async def prepare(self) -> None:
        store = self.open()
        client = store.connect()
        create_tables(client, 3650)
        migrate(client, 3650)
        start = parse_time("2026-11-16T01:00:00Z")
        rows = [
            trace_row(f"{i:032x}", start_ns=start + i, request=f"a {list(KINDS)[i % 2]} problem, number {i}")
            for i in range(TRACES)
        ]
        await store.insert("traces", rows)
        since = ScheduledRunRow(
            "topics", "0 3 * * * UTC", parse_time("2026-11-15T12:00:00Z"), "since", True, "", "", "", 1
        )
        await store.insert("scheduled_runs", [since])

    async def undisturbed(self) -> int:
        """Calls of a run over the same traces that nobody disturbs; made once."""
        if not Site.calls_in_peace:
            Site.calls_in_peace = await self._in_peace()
        return Site.calls_in_peace

    async def _in_peace(self) -> int:
        with SlowModel() as model:
            here = self.model
            self.model = model
            config = self.config("in_peace")
            self.model = here
            run = await Runs(config, self.open(), nothing_open).run(
                RunRequest("in_peace", window_end_ns=parse_time(NIGHT))
            )
            assert (run.status, run.traces_labelled) == ("complete", TRACES)
            return model.usage.calls


async def nothing_open(unit: str) -> int:
    return 0


async def none_open() -> int | None:
    return None


@pytest.fixture
def site(http_server: ClickHouseServer) -> Iterator[Site]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    with SlowModel() as model:
        site = Site(http_server, name, model)
        yield site
        for store in site.opened:
            store.close()
    with closing(
        clickhouse_connect.get_client(
            host="127.0.0.1", port=http_server.port, password=PASSWORD, autogenerate_session_id=False
        )
    ) as admin:
        admin.command(f"DROP DATABASE {name} SYNC")


async def soon(ask: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not await ask():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def until_done(*services: Scheduler) -> None:
    async def done() -> bool:
        return all([(await service.status())[0]["last"] is not None for service in services])

    await soon(done)


def test_two_services_and_one_by_hand_make_one_run(site: Site) -> None:
    async def story() -> None:
        await site.prepare()
        calls = await site.undisturbed()
        services = [site.service("one"), site.service("two")]
        stopping = asyncio.Event()
        loops = [asyncio.create_task(service.run(stopping)) for service in services]
        by_hand = asyncio.create_task(site.runs().run(REQUEST))
        await until_done(*services)
        stopping.set()
        await asyncio.gather(*loops)
        statuses = [await service.status() for service in services]
        assert statuses[0] == statuses[1]
        last = statuses[0][0]["last"]
        (run,) = await site.history()
        assert (run["run_id"], run["status"], run["labelled"]) == (last["run_id"], "complete", TRACES)
        assert (await by_hand).run_id == run["run_id"]
        assert (run["scheduled_for"], run["has_report"]) == (NIGHT, True)
        assert site.model.usage.calls <= 1.05 * calls

    asyncio.run(story())


def test_a_service_that_stops_leaves_its_run_to_the_next(site: Site) -> None:
    async def story() -> None:
        await site.prepare()
        calls = await site.undisturbed()
        site.model.held_after = 4
        first, stopping = site.service("one"), asyncio.Event()
        running = asyncio.create_task(first.run(stopping))

        async def under_way() -> bool:
            return site.model.usage.calls >= 4

        await soon(under_way)
        stopping.set()
        await running
        site.model.released.set()
        (left,) = await site.history()
        assert (left["status"], left["error"], left["has_report"]) == ("cancelled", SUSPENDED, False)
        second, stopping = site.service("two"), asyncio.Event()
        running = asyncio.create_task(second.run(stopping))
        await until_done(second)
        stopping.set()
        await running
        (run,) = await site.history()
        assert (run["run_id"], run["status"], run["labelled"]) == (left["run_id"], "complete", TRACES)
        assert run["started_at"] == left["started_at"]
        assert site.model.usage.calls <= calls + CONCURRENCY
        with site.opened[0].reader() as client:
            versions = client.query(
                "SELECT uniqExact(TaxonomyVersion) FROM taxonomies WHERE Analysis = 'topics'"
            )
        assert versions.result_rows == [(1,)]

    asyncio.run(story())


class Muffled(ClickHouse):
    """A database that hears nothing of leases any more once it is muffled, as from a process that hangs."""

    muffled = False

    async def rows(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        self._check(name)
        return await super().rows(name, **parameters)

    async def command(self, name: str, **parameters: Any) -> None:
        self._check(name)
        await super().command(name, **parameters)

    def _check(self, name: str) -> None:
        if self.muffled and "lease" in name:
            raise StoreUnavailable("muffled")


def test_a_run_that_is_taken_over_writes_nothing_any_more(site: Site) -> None:
    async def story() -> None:
        await site.prepare()
        calls = await site.undisturbed()
        site.model.held_after = 4
        hanging = site.open()
        hanging.__class__ = Muffled
        site.lease_seconds = 2.0
        first = asyncio.create_task(site.runs(hanging).run(REQUEST))
        site.lease_seconds = 60.0

        async def under_way() -> bool:
            return site.model.usage.calls >= 4

        await soon(under_way)
        assert isinstance(hanging, Muffled)
        hanging.muffled = True
        second = asyncio.create_task(site.runs().run(REQUEST))
        with pytest.raises(RunFailed, match="lease_seconds"):
            await first
        site.model.released.set()
        run = await second
        (told,) = await site.history()
        assert (told["run_id"], told["status"], told["labelled"]) == (run.run_id, "complete", TRACES)
        assert site.model.usage.calls <= calls + CONCURRENCY

    asyncio.run(story())


def test_a_run_whose_process_is_gone_looks_failed_until_it_is_resumed(site: Site) -> None:
    async def story() -> None:
        await site.prepare()
        first = asyncio.create_task(site.runs().run(REQUEST))

        async def has_begun() -> bool:
            return bool(await site.history())

        await soon(has_begun)
        site.lease_seconds = 1.0
        cleaning = Abandonment(site.config(), site.opened[0])
        site.lease_seconds = 60.0
        await cleaning.tick()
        assert (await site.history())[0]["status"] == "running"  # its process is alive
        run = await first
        (row,) = await site.opened[0].records("reading/run_by_id", RunRow, run_id=run.run_id)
        # As a process leaves it that is killed: running, without anybody who has the turn.
        left = replace(row, status="running", finished_at_ns=0, updated_at_ns=row.updated_at_ns + 1)
        await site.opened[0].insert("analysis_run_states", [left])
        assert (await site.history())[0]["status"] == "running"

        async def failed() -> bool:
            await cleaning.tick()
            return (await site.history())[0]["error"] == ABANDONED

        await soon(failed)
        again = await site.runs().run(REQUEST)
        assert (again.run_id, again.status, again.started_at_ns) == (
            run.run_id,
            "complete",
            run.started_at_ns,
        )

    asyncio.run(story())


def test_waiting_can_be_given_up(site: Site) -> None:
    async def story() -> None:
        await site.prepare()
        told: list[str] = []
        async with site.runs().turn("topics") as turn:
            assert turn is not None
            async with site.runs().turn("topics", wait=False) as other:
                assert other is None
            waiting = asyncio.create_task(
                site.runs().run(REQUEST, lambda stage, done, total, *more: told.append(stage))
            )

            async def waits() -> bool:
                return bool(told)

            await soon(waits)
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
        assert set(told) == {"wait for its turn"}
        assert await site.history() == []

    asyncio.run(story())
