"""When a trace counts as whole, and what a new process finds to do: arrivals are written with chosen times."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from otlp import request, span
from tracetaxa.analyze.digests.digest import digest
from tracetaxa.assemble.assembler import Assembler, ClosingRules
from tracetaxa.assemble.rows import ToRow
from tracetaxa.dialects import read_trace
from tracetaxa.store.database import statement
from tracetaxa_exporter.clickhouse import SpanWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clickhouse_connect.driver.client import Client

    from tracetaxa.store.database import ClickHouse

SECOND = 10**9
RULES = ClosingRules(idle_seconds=30, orphan_idle_seconds=120, max_trace_seconds=3600)
SERVER, CLIENT, CONSUMER = 2, 3, 5


def now_ns(client: Client) -> int:
    return int(client.query("SELECT toUnixTimestamp64Nano(now64(9))").result_rows[0][0])


def arrive(client: Client, trace: str, *ages: float, root: bool = False, remote: bool = False) -> None:
    """Arrivals so many seconds ago; the flags are of the last."""
    now = now_ns(client)
    last = len(ages) - 1
    client.insert(
        "trace_activity",
        [
            [now - round(age * SECOND), trace, root and i == last, remote and i == last]
            for i, age in enumerate(ages)
        ],
        column_names=["SeenAt", "TraceId", "HasRoot", "HasRemoteParent"],
    )


def assembled(client: Client, trace: str, revision: int, written: float, up_to: float) -> None:
    now = now_ns(client)
    client.insert(
        "trace_revisions",
        [[now - round(written * SECOND), trace, revision, now - round(up_to * SECOND)]],
        column_names=["WrittenAt", "TraceId", "Revision", "LastSeen"],
    )


def pending(store: ClickHouse, max_rows: int = 100, since_ns: int = 0) -> list[dict[str, Any]]:
    return asyncio.run(
        store.rows("assembly/pending_traces", since_ns=since_ns, max_rows=max_rows, **RULES.parameters())
    )


def states(store: ClickHouse) -> dict[str, str]:
    names = {(1, 0): "closed", (0, 1): "unsure", (0, 0): "open"}
    return {row["TraceId"]: names[row["Closed"], row["Unsure"]] for row in pending(store)}


# ------------------------------------------------------------------------------------------------- the rules


@pytest.mark.parametrize(
    ("ages", "flags", "state"),
    [
        ([25], {"root": True}, "open"),
        ([35], {"root": True}, "closed"),
        ([25], {"remote": True}, "open"),
        ([35], {"remote": True}, "closed"),
        ([35], {}, "unsure"),
        ([115], {}, "unsure"),
        ([125], {}, "closed"),
        ([3590, 5], {"root": True}, "open"),
        ([3610, 5], {"root": True}, "closed"),
        ([3610, 5], {}, "closed"),
    ],
)
def test_the_rules(
    store: ClickHouse, client: Client, ages: list[float], flags: dict[str, bool], state: str
) -> None:
    arrive(client, "t", *ages, **flags)
    assert states(store) == {"t": state}


def test_what_a_revision_holds_is_not_pending(store: ClickHouse, client: Client) -> None:
    for name in ("held", "more", "late", "long", "gone", "back"):
        arrive(client, name, 4000, root=True)
    assembled(client, "held", 1, written=3900, up_to=4000)
    # Something newer came since; once assembled, a trace needs no root to close.
    arrive(client, "more", 10)
    assembled(client, "more", 1, written=3900, up_to=4000)
    arrive(client, "late", 35)
    assembled(client, "late", 1, written=3900, up_to=4000)
    # Its longest time begins again with what was assembled last.
    arrive(client, "long", 700, 5)
    assembled(client, "long", 1, written=600, up_to=650)
    # Revision 0: nothing is left of it; and then something is.
    assembled(client, "gone", 0, written=3900, up_to=3990)
    assembled(client, "back", 0, written=3900, up_to=3990)
    arrive(client, "back", 5)
    assert states(store) == {"more": "closed", "late": "closed", "long": "open", "back": "closed"}


def test_of_two_equal_revisions_the_one_that_holds_less_counts(store: ClickHouse, client: Client) -> None:
    arrive(client, "t", 300, 200, root=True)
    assembled(client, "t", 1, written=60, up_to=200)
    assert states(store) == {}
    assembled(client, "t", 1, written=50, up_to=300)
    assert states(store) == {"t": "closed"}
    assembled(client, "t", 2, written=40, up_to=200)
    assert states(store) == {}


def test_what_is_known_of_all_stands_beside_each(store: ClickHouse, client: Client) -> None:
    for i in range(6):
        arrive(client, f"closed{i}", 100 - i, root=True)
    arrive(client, "open", 50, 20, root=True)
    arrive(client, "orphan", 60)
    rows = pending(store, max_rows=4)
    assert [row["TraceId"] for row in rows] == [f"closed{i}" for i in range(4)]
    assert {(row["AllPending"], row["AllOpen"]) for row in rows} == {(8, 2)}
    everything = {row["TraceId"]: row for row in pending(store)}
    assert {row["OldestOpen"] for row in rows} == {everything["orphan"]["WaitsSince"]}
    assert [row["TraceId"] for row in pending(store)][6:] == ["orphan", "open"]


# ------------------------------------------------------------------------------------------------- remote parents


def parts_seen(client: Client) -> dict[str, tuple[bool, bool]]:
    rows = client.query("SELECT TraceId, HasRoot, HasRemoteParent FROM trace_activity").result_rows
    return {trace.lstrip("0"): (root, remote) for trace, root, remote in rows}


def write(client: Client, trace: int, kind: int, parent: int, flags: int = 0) -> None:
    made = span(trace, 1, parent=parent)
    made.kind = kind  # type: ignore[assignment]
    made.flags = flags
    SpanWriter(client).write([request(made)])


def test_a_span_that_answers_a_call_has_a_remote_parent(store: ClickHouse, client: Client) -> None:
    write(client, 1, SERVER, parent=9)
    write(client, 2, CONSUMER, parent=9)
    write(client, 3, CLIENT, parent=9)
    write(client, 4, SERVER, parent=0)
    expected = {"1": (False, True), "2": (False, True), "3": (False, False), "4": (True, False)}
    assert parts_seen(client) == expected


def insert_span(client: Client, trace: int, **values: Any) -> None:
    row = {"TraceId": f"{trace:032x}", "SpanId": "01", "ParentSpanId": "09", "SpanKind": "Internal"} | values
    client.insert("otel_traces", [[*row.values()]], column_names=[*row])


def test_the_flag_of_our_own_table_counts(store: ClickHouse, client: Client) -> None:
    insert_span(client, 1, ParentIsRemote=True)
    insert_span(client, 2, ParentIsRemote=False)
    assert parts_seen(client) == {"1": (False, True), "2": (False, False)}


def test_a_table_of_a_collector_has_no_flag(store: ClickHouse, client: Client) -> None:
    client.command("DROP VIEW trace_activity_mv")
    client.command("ALTER TABLE otel_traces DROP COLUMN ParentIsRemote")
    client.command(statement("migrations/0002_trace_activity_mv"))
    insert_span(client, 1, SpanKind="Server")
    insert_span(client, 2)
    insert_span(client, 3, SpanKind="SPAN_KIND_CONSUMER")
    assert parts_seen(client) == {"1": (False, True), "2": (False, False), "3": (False, True)}


# ------------------------------------------------------------------------------------------------- a new process


class Watched:
    """The store, and from when on it was asked for pending traces."""

    def __init__(self, store: ClickHouse) -> None:
        self._store = store
        self.since_ns: list[int] = []

    async def rows(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        if name == "assembly/pending_traces":
            self.since_ns.append(parameters["since_ns"])
        return await self._store.rows(name, **parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def assembler(store: Any) -> Assembler:
    def short(trace: Any) -> Any:
        return digest(trace, max_tokens=100)

    return Assembler(store, read_trace, ToRow(short, lambda usage: None), RULES, batch_traces=7)


def closes_at(arrivals: Sequence[tuple[float, bool]]) -> float:
    """The earliest moment at which a trace with these arrivals (time, with root) is closed, in seconds."""
    for i, (at, _) in enumerate(arrivals):
        entered = any(root for _, root in arrivals[: i + 1])
        quiet = at + (RULES.idle_seconds if entered else RULES.orphan_idle_seconds)
        following = arrivals[i + 1][0] if i + 1 < len(arrivals) else float("inf")
        if (closing := min(quiet, arrivals[0][0] + RULES.max_trace_seconds)) <= following:
            return closing
    raise AssertionError


@pytest.mark.parametrize("seed", range(3))
def test_a_start_looks_back_a_bounded_time_and_misses_nothing(
    store: ClickHouse, client: Client, seed: int
) -> None:
    """A process was killed five hours ago in the middle of a tick; spans came before, meanwhile and after."""
    chance = random.Random(seed)
    client.command("DROP VIEW trace_activity_mv")
    now, killed = now_ns(client) / SECOND, now_ns(client) / SECOND - 5 * 3600
    traffic: dict[str, list[tuple[float, bool]]] = {}
    for number in range(1, 60):
        at = now - chance.uniform(300, 10 * 3600)
        if number % 3 == 0:
            at = killed - chance.uniform(-200, 4000)
        gaps = [chance.choice([0.5, 20, 25, 100, 110, 1500]) for _ in range(chance.randrange(5))]
        times = [at]
        for gap in gaps:
            times.append(min(times[-1] + gap, now - 200))
        root = chance.choice([None, 0, len(times) - 1])
        traffic[f"{number:032x}"] = [(time, i == root) for i, time in enumerate(times)]
        SpanWriter(client).write([request(span(number, 1))])
    client.insert(
        "trace_activity",
        [
            [round(time * SECOND), trace, root]
            for trace, arrivals in traffic.items()
            for time, root in arrivals
        ],
        column_names=["SeenAt", "TraceId", "HasRoot"],
    )
    done = former_process(traffic, killed, chance)
    client.insert(
        "trace_revisions",
        [[round(killed * SECOND), trace, 1, round(up_to * SECOND)] for trace, up_to in done.items()],
        column_names=["WrittenAt", "TraceId", "Revision", "LastSeen"],
    )
    watched = Watched(store)
    made = assembler(watched)
    while asyncio.run(made.tick()):
        pass
    held = client.query(
        "SELECT TraceId, max(LastSeen) FROM trace_revisions GROUP BY TraceId",
        query_formats={"DateTime64*": "int"},
    ).result_rows
    assert dict(held) == {trace: round(arrivals[-1][0] * SECOND) for trace, arrivals in traffic.items()}
    newest = round(max(done.values()) * SECOND)
    assert watched.since_ns[0] == newest - (3600 + 60) * SECOND
    assert watched.since_ns == sorted(watched.since_ns)


def former_process(
    traffic: Mapping[str, Sequence[tuple[float, bool]]], killed: float, chance: random.Random
) -> dict[str, float]:
    """Up to when it had assembled each trace: all that had closed, but some of its last tick."""
    newest: dict[str, float] = {}
    last_tick: dict[str, float] = {}
    for trace, arrivals in traffic.items():
        came = [arrival for arrival in arrivals if arrival[0] <= killed]
        held = 0
        while held < len(came):
            closing = closes_at(came[held:])
            if closing > killed:
                break
            held = sum(at <= closing for at, _ in came)
            into = last_tick if closing > killed - 2 else newest
            into[trace] = came[held - 1][0]
    ordered = sorted(last_tick, key=lambda trace: last_tick[trace])
    newest |= {trace: last_tick[trace] for trace in ordered[: chance.randrange(len(ordered) + 1)]}
    return newest


def test_a_first_start_looks_at_everything(store: ClickHouse) -> None:
    watched = Watched(store)
    assert asyncio.run(assembler(watched).tick()) == 0
    assert watched.since_ns == [0]
