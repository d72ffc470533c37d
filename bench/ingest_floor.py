"""The least that storing spans can cost: the engine inserts blocks that were built before.

`python -m bench.ingest_floor DIRECTORY REQUESTS`: reads DIRECTORY/requests, joins so many in a block, and
prints what the inserts cost as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tracetaxa.store.database import ClickHouse
from tracetaxa.store.dsn import Dsn
from tracetaxa.store.migrate import migrate
from tracetaxa_exporter.clickhouse import OWN_SPAN_COLUMNS, SPAN_COLUMNS, SpanWriter, create_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RETENTION_DAYS = 30
QUIET_CPU_SECONDS = 0.15
SETTLE_SECONDS = 30.0


def open_store(path: str | Path) -> ClickHouse:
    """A new embedded database with the product's schema."""
    store = ClickHouse.open(Dsn(path=Path(path)), "otel", readers=1)
    client = store.connect()
    create_tables(client, RETENTION_DAYS)
    migrate(client, RETENTION_DAYS)
    return store


def blocks(store: ClickHouse, directory: Path, requests: int) -> Iterator[tuple[int, Path]]:
    """Rows and file of a Native block of each group of so many requests, in the order in which they came."""
    client = store.connect()
    client.command("CREATE DATABASE scratch")
    client.command("USE scratch")
    columns = ", ".join(f"`{name}` {kind}" for name, kind in (SPAN_COLUMNS | OWN_SPAN_COLUMNS).items())
    client.command(f"CREATE TABLE otel_traces ({columns}) ENGINE = Memory")
    writer = SpanWriter(client)
    waiting = list(_requests(directory / "requests"))
    for at in range(0, len(waiting), requests):
        writer.write(waiting[at : at + requests])
        file = directory / f"{at}.native"
        client.command(f"SELECT * FROM scratch.otel_traces INTO OUTFILE '{file}' FORMAT Native")
        yield client.query("SELECT count() AS n FROM scratch.otel_traces").first_item["n"], file
        client.command("TRUNCATE TABLE scratch.otel_traces")


def _requests(path: Path) -> Iterator[bytes]:
    data, at = path.read_bytes(), 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        yield data[at + 4 : end]
        at = end


def main(directory: Path, requests: int) -> None:
    store = open_store(directory / "data")
    client = store.connect()
    files = list(blocks(store, directory, requests))
    columns = [*SPAN_COLUMNS, *OWN_SPAN_COLUMNS]
    names = ", ".join(f"`{name}`" for name in columns)
    # The engine's defaults, or what the product sets.
    insert = f"INSERT INTO otel_traces ({names}) FROM INFILE '%s' SETTINGS %s FORMAT Native"
    found: dict[str, float] = {}
    for name, settings in (("own", "optimize_on_insert = 0"), ("", "async_insert = 0")):
        client.command("TRUNCATE TABLE otel_traces")
        client.command(insert % (files[0][1], settings))
        cpu, merges, began = _cpu_seconds(), merge_seconds(os.getpid()), time.perf_counter()
        for _, file in files:
            client.command(insert % (file, settings))
        stored = time.perf_counter() - began
        settle(_cpu_seconds)
        total = sum(rows for rows, _ in files)
        found |= {
            f"cpu_us_per_span{name and '_' + name}": (_cpu_seconds() - cpu) / total * 1e6,
            f"merges_us_per_span{name and '_' + name}": (merge_seconds(os.getpid()) - merges) / total * 1e6,
            f"stored_per_second{name and '_' + name}": total / stored,
        }
    found["rows_per_insert"] = sum(rows for rows, _ in files) / len(files)
    found["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))
    store.close()


def settle(cpu_seconds: Callable[[], float]) -> None:
    """Until merges, which every insert causes sooner or later, are over: a second with hardly any CPU."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        before = cpu_seconds()
        time.sleep(1)
        if cpu_seconds() - before < QUIET_CPU_SECONDS:
            return


def merge_seconds(pid: int) -> float:
    """CPU of the engine's merges in a process, by the names of their threads (Linux)."""
    found = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it ended
            name, _, fields = (task / "stat").read_text().partition("(")[2].rpartition(")")
            if name.startswith("MergeMutate"):
                found += sum(map(int, fields.split()[11:13]))
    return found / os.sysconf("SC_CLK_TCK")


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
