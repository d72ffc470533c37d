"""The least that storing spans can cost: the engine inserts blocks that were built before.

`python -m bench.ingest_floor DIRECTORY REQUESTS`: reads DIRECTORY/requests, joins so many in a block, and
prints what the inserts cost as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from tracetaxa.store.database import ClickHouse
from tracetaxa.store.dsn import Dsn
from tracetaxa.store.migrate import migrate
from tracetaxa_exporter.clickhouse import OWN_SPAN_COLUMNS, SPAN_COLUMNS, create_tables
from tracetaxa_exporter.clickhouse.rows import TimeLimits
from tracetaxa_exporter.clickhouse.spans import SpanColumns

RETENTION_DAYS = 30
SETTLE_SECONDS = 1.0


def open_store(path: str | Path) -> ClickHouse:
    """A new embedded database with the product's schema."""
    store = ClickHouse.open(Dsn(path=Path(path)), "otel", readers=1)
    client = store.connect()
    create_tables(client, RETENTION_DAYS)
    migrate(client, RETENTION_DAYS)
    return store


def blocks(path: Path, requests: int) -> list[tuple[int, bytes]]:
    """Rows and Native block of each group of so many requests."""
    data = path.read_bytes()
    limits = TimeLimits.at(time.time_ns())
    made, at = [], 0
    while at < len(data):
        spans = SpanColumns(limits)
        for _ in range(requests):
            if at < len(data):
                size = int.from_bytes(data[at : at + 4], "little")
                spans.add(data[at + 4 : at + 4 + size])
                at += 4 + size
        made.append((len(spans), spans.native([*SPAN_COLUMNS, *OWN_SPAN_COLUMNS])))
    return made


def main(directory: Path, requests: int) -> None:
    store = open_store(directory / "data")
    client = store.connect()
    made = blocks(directory / "requests", requests)
    columns = [*SPAN_COLUMNS, *OWN_SPAN_COLUMNS]
    files = []
    for number, (rows, block) in enumerate(made):
        file = directory / f"{number}.native"
        file.write_bytes(block)
        files.append((rows, file))
    names = ", ".join(f"`{name}`" for name in columns)
    # The engine's defaults, or what the product sets.
    insert = f"INSERT INTO otel_traces ({names}) FROM INFILE '%s' SETTINGS %s FORMAT Native"
    found: dict[str, float] = {}
    for name, settings in (("own", "optimize_on_insert = 0"), ("", "async_insert = 0")):
        client.command("TRUNCATE TABLE otel_traces")
        client.command(insert % (files[0][1], settings))
        cpu, began = _cpu_seconds(), time.perf_counter()
        for _, file in files:
            client.command(insert % (file, settings))
        stored = time.perf_counter() - began
        time.sleep(SETTLE_SECONDS)
        total = sum(rows for rows, _ in files)
        found |= {
            f"cpu_us_per_span{name and '_' + name}": (_cpu_seconds() - cpu) / total * 1e6,
            f"stored_per_second{name and '_' + name}": total / stored,
        }
    found["rows_per_insert"] = sum(rows for rows, _ in files) / len(files)
    found["peak_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found))
    store.close()


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
