"""Scheduled runs by a clock of the test's own, on the real store: a week with downtime, failures, several replicas."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from factories import trace_row
from tracetaxa.check import _schedules
from tracetaxa.config import Config
from tracetaxa.jobs import RunRequest, parse_time
from tracetaxa.schedule.runs import Runs
from tracetaxa.schedule.scheduler import Scheduler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tracetaxa.store.database import ClickHouse

SECOND = 10**9
HOUR = 3600 * SECOND
SETTINGS: dict[str, Any] = {"settle_seconds": 600, "jitter_seconds": 0}


class World:
    """A clock, the time since which the oldest open trace waits, and services that come and go on one store."""

    def __init__(self, store: ClickHouse, now: str = "2026-11-16T00:00:00Z") -> None:
        self.store = store
        self.now = parse_time(now)
        self.oldest_open: int | None = None

    def at(self, text: str) -> None:
        self.now = parse_time(text)

    def service(self, *analyses: dict[str, Any], name: str = "one", **scheduler: Any) -> Scheduler:
        """As after a start of the service: it knows nothing but what the tables say."""
        config = Config(
            llm={"engine": "local"},  # type: ignore[arg-type]
            analyses=analyses or ({"name": "topics", "schedule": "0 3 * * *"},),  # type: ignore[arg-type]
            scheduler=SETTINGS | scheduler,  # type: ignore[arg-type]
        )
        runs = Runs(config, self.store, self._nothing_open)
        return Scheduler(config, self.store, runs, self._oldest, clock=lambda: self.now, instance=name)

    async def _oldest(self) -> int | None:
        return self.oldest_open

    async def _nothing_open(self, unit: str) -> int:
        return 0

    async def until(self, end: str, *services: Scheduler, step: int = HOUR // 4) -> None:
        """All of them look again and again until then."""
        while self.now < parse_time(end):
            self.now += step
            for service in services:
                await service.tick()

    def windows(self, analysis: str = "topics") -> list[tuple[str, str]]:
        """What was run, in the order of beginning, with its status."""
        with self.store.reader() as client:
            rows = client.query(
                "SELECT formatDateTime(WindowEnd, '%m-%d %H:%i', 'UTC'), toString(Status) FROM analysis_runs "
                "WHERE Analysis = {analysis:String} ORDER BY StartedAt",
                {"analysis": analysis},
            ).result_rows
        return [(str(end), str(status)) for end, status in rows]


@pytest.fixture
def world(store: ClickHouse) -> World:
    return World(store)


def go(story: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await story()

    asyncio.run(run())


def test_a_week_with_downtime(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        service = world.service()
        await world.until("2026-11-18T12:00:00Z", service)
        assert world.windows() == [
            ("11-16 03:00", "complete"),
            ("11-17 03:00", "complete"),
            ("11-18 03:00", "complete"),
        ]
        # Down from then on; the fifth night is the last that is made up for.
        world.at("2026-11-23T12:00:00Z")
        again = world.service(max_catch_up=2)
        assert [await again.tick() for _ in range(4)] == [1, 1, 0, 0]
        assert world.windows()[3:] == [("11-22 03:00", "complete"), ("11-23 03:00", "complete")]
        (status,) = await again.status()
        assert status["next"] == "2026-11-24T03:00:00Z"
        assert status["due"] == []
        assert (status["last"]["scheduled_for"], status["last"]["status"]) == (
            "2026-11-23T03:00:00Z",
            "complete",
        )

    go(story)
    missed = [record.getMessage() for record in caplog.records if "were missed" in record.getMessage()]
    assert missed == [
        "analysis topics: times before 2026-11-22T03:00:00Z were missed (scheduler.max_catch_up)"
    ]


def test_the_window_ends_at_the_scheduled_time_and_the_run_begins_when_it_has_settled(world: World) -> None:
    async def story() -> None:
        await world.store.insert(
            "traces",
            [
                trace_row(name, start_ns=parse_time(start))
                for name, start in (
                    ("before", "2026-11-16T00:59:59Z"),
                    ("first", "2026-11-16T01:00:00Z"),
                    ("last", "2026-11-16T02:59:59Z"),
                    ("after", "2026-11-16T03:00:00Z"),
                )
            ],
        )
        service = world.service(
            {"name": "topics", "schedule": "0 3 * * *", "window": "2h"}, jitter_seconds=60
        )
        await service.tick()
        world.at("2026-11-16T03:09:59Z")
        assert await service.tick() == 0
        (status,) = await service.status()
        assert (status["due"], status["last"]) == (["2026-11-16T03:00:00Z"], None)
        world.at("2026-11-16T03:11:00Z")
        world.oldest_open = parse_time("2026-11-16T02:59:59Z")
        assert await service.tick() == 0  # something that began in the window is still open
        world.oldest_open = parse_time("2026-11-16T03:00:00Z")
        assert await service.tick() == 1
        with world.store.reader() as client:
            assert client.query(
                "SELECT WindowStart, WindowEnd, TracesSelected FROM analysis_runs"
            ).result_rows == [
                (
                    *(
                        client.query(f"SELECT toDateTime64('2026-11-16 {t}:00:00', 9, 'UTC')").result_rows[0][
                            0
                        ]
                        for t in ("01", "03")
                    ),
                    2,
                )
            ]

    go(story)


@pytest.mark.parametrize(("unit", "seconds"), [("trace", 30 + 120), ("session", 30 + 120 + 1800)])
def test_how_long_a_window_settles_by_itself(world: World, unit: str, seconds: int) -> None:
    async def story() -> None:
        service = world.service(
            {"name": "topics", "schedule": "0 3 * * *", "unit": unit}, settle_seconds=None
        )
        await service.tick()
        world.now = parse_time("2026-11-16T03:00:00Z") + (seconds - 1) * SECOND
        assert await service.tick() == 0
        world.now += SECOND
        assert await service.tick() == 1

    go(story)


def test_what_stays_open_holds_nothing_up_for_long(world: World) -> None:
    async def story() -> None:
        service = world.service(max_settle_seconds=3600)
        await service.tick()
        world.oldest_open = parse_time("2026-11-15T00:00:00Z")
        await world.until("2026-11-16T03:59:00Z", service, step=60 * SECOND)
        assert world.windows() == []
        await world.until("2026-11-16T04:00:00Z", service, step=60 * SECOND)
        assert world.windows() == [("11-16 03:00", "complete")]

    go(story)


def test_replicas_make_each_run_once(world: World) -> None:
    async def story() -> None:
        analyses = (
            {"name": "topics", "schedule": "0 */6 * * *", "window": "6h"},
            {"name": "failures", "schedule": "30 3 * * *"},
        )
        services = [
            world.service(*analyses, name=name, jitter_seconds=900) for name in ("one", "two", "three")
        ]
        for service in services:
            await service.tick()
        await world.until("2026-11-18T01:00:00Z", *services)
        assert world.windows() == [
            (f"11-{day} {hour:02}:00", "complete")
            for day, hours in ((16, (6, 12, 18)), (17, (0, 6, 12, 18)), (18, (0,)))
            for hour in hours
        ]
        assert world.windows("failures") == [("11-16 03:30", "complete"), ("11-17 03:30", "complete")]
        statuses = [await service.status() for service in services]
        assert statuses[0] == statuses[1] == statuses[2]
        with world.store.reader() as client:
            instances = client.query("SELECT uniqExact(Instance) FROM scheduled_runs").result_rows[0][0]
        assert instances > 1  # the jitter of each host is its own, and spreads the work

    go(story)


def test_jitter_is_the_same_for_a_host_and_another_for_others(world: World) -> None:
    nights = range(3)

    def begins(name: str) -> list[int]:
        """Seconds after each scheduled time, as a service that starts anew sees it."""

        async def story() -> None:
            for night in nights:
                service = world.service(name=name, jitter_seconds=600, settle_seconds=0)
                three = parse_time("2026-11-16T03:00:00Z") + night * 24 * HOUR
                world.now = three - HOUR
                await service.tick()
                world.now = three
                while not await service.tick():
                    world.now += 20 * SECOND
                found.append((world.now - three) // SECOND)
            with world.store.reader() as client:
                client.command("TRUNCATE TABLE scheduled_runs")

        found: list[int] = []
        go(story)
        return found

    one = begins("one")
    assert one == begins("one") != begins("two")
    assert len(set(one)) > 1
    assert all(0 <= seconds <= 600 + 20 for seconds in one)


def test_a_failing_run_is_told_and_made_again_and_stops_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        broken = {"name": "broken", "schedule": "0 3 * * *", "filter": {"where": "NoSuchColumn = 1"}}
        service = world.service(broken, {"name": "topics", "schedule": "0 3 * * *"}, max_attempts=3)
        await service.tick()
        world.at("2026-11-16T03:10:00Z")
        assert await service.tick() == 2
        assert world.windows() == [("11-16 03:00", "complete")]
        await until_it_tells(service)
        assert "NoSuchColumn" in service.last_error
        (status, good) = await service.status()
        assert (status["last"]["status"], status["due"]) == ("failed", ["2026-11-16T03:00:00Z"])
        assert "NoSuchColumn" in status["last"]["error"]
        assert (good["last"]["status"], good["due"]) == ("complete", [])
        # Made again after 300 s and after 600 more, then no more until the next night.
        times = []
        while world.now < parse_time("2026-11-17T02:00:00Z"):
            world.now += 30 * SECOND
            if await service.tick():
                times.append((world.now - parse_time("2026-11-16T03:10:00Z")) // SECOND)
        assert times == [300, 900]
        assert (await service.status())[0]["due"] == []
        # Mended, and started anew: the next night is fine and the error is gone.
        mended = world.service({"name": "broken", "schedule": "0 3 * * *"})
        await world.until("2026-11-17T04:00:00Z", mended)
        assert world.windows("broken") == [("11-17 03:00", "complete")]
        assert mended.trouble == ""

    with caplog.at_level(logging.INFO, "tracetaxa.schedule"):
        go(story)
    assert any("made again in 600 s" in record.getMessage() for record in caplog.records)


async def until_it_tells(service: Scheduler) -> None:
    """The loop as the service runs it, until it has something to say."""
    stopping = asyncio.Event()
    running = asyncio.create_task(service.run(stopping))
    while not service.last_error:
        await asyncio.sleep(0)
    stopping.set()
    await running


def test_a_schedule_begins_when_it_is_seen_first(world: World) -> None:
    """Nothing is made up for from before, also when another schedule had its times there."""

    async def story() -> None:
        await world.until("2026-11-16T04:00:00Z", world.service())
        world.at("2026-11-17T12:30:00Z")
        hourly = world.service({"name": "topics", "schedule": "0 * * * *", "window": "1h"})
        await world.until("2026-11-17T13:30:00Z", hourly)
        assert world.windows() == [("11-16 03:00", "complete"), ("11-17 13:00", "complete")]

    go(story)


def test_a_run_by_hand_of_the_same_window_is_the_same_run(world: World) -> None:
    async def story() -> None:
        await world.store.insert("traces", [trace_row("one", start_ns=parse_time("2026-11-16T01:00:00Z"))])
        config = Config(llm={"engine": "local"}, analyses=({"name": "topics"},))  # type: ignore[arg-type]
        service = world.service()
        await service.tick()
        runs = Runs(config, world.store, world._nothing_open)
        by_hand = await runs.run(RunRequest("topics", window_end_ns=parse_time("2026-11-16T03:00:00Z")))
        await world.until("2026-11-16T04:00:00Z", service)
        (status,) = await service.status()
        assert status["last"]["run_id"] == by_hand.run_id
        assert world.windows() == [("11-16 03:00", "complete")]

    go(story)


def test_check_tells_when_a_schedule_comes_next() -> None:
    analyses = ({"name": "topics", "schedule": "0 3 29 2 *", "time_zone": "Asia/Kolkata"}, {"name": "other"})
    (finding,) = _schedules(Config(analyses=analyses), None)  # type: ignore[arg-type]
    assert (finding.what, finding.ok) == ("schedule of topics", True)
    assert finding.detail.startswith("0 3 29 2 * Asia/Kolkata, next 20")
    assert finding.detail.endswith("-02-28T21:30:00Z")


def test_the_time_zone_is_that_of_the_analysis(world: World) -> None:
    async def story() -> None:
        service = world.service({"name": "topics", "schedule": "0 3 * * *", "time_zone": "America/New_York"})
        await world.until("2026-11-16T09:00:00Z", service)
        assert world.windows() == [("11-16 08:00", "complete")]

    go(story)
