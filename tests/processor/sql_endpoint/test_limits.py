"""Limits on time, memory, results and on how many are answered at once."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from sql_serving import SLOW, Reply, Server, serving, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def small(chdb_path: Path, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("small")
    limits = {
        "max_execution_seconds": 1,
        "max_memory_mib": 64,
        "max_result_mib": 1,
        "max_concurrency": 2,
        "max_waiting": 2,
    }
    with serving(chdb_path, database, folder, **limits) as running:
        yield running


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        (SLOW, "159"),
        (f"{SLOW} SETTINGS max_execution_time = 0", "159"),
        (f"{SLOW} SETTINGS max_execution_time = 1000", "159"),
        ("SELECT length(range(100000000))", "241"),
        ("SELECT length(range(100000000)) SETTINGS max_memory_usage = 0", "241"),
        ("SELECT number FROM numbers(10000000) SETTINGS max_result_bytes = 0", "396"),
        # Small in memory, large as text.
        (
            "SELECT 'x' AS a_column_with_a_long_name_that_is_repeated FROM numbers(60000) FORMAT JSONEachRow",
            "396",
        ),
    ],
)
def test_limits(small: Server, sql: str, code: str) -> None:
    reply = small.send(body=sql)
    assert reply.code == code, reply.text
    assert small.send(body="SELECT 1").body == b"1\n"


def test_a_lower_limit_counts(small: Server) -> None:
    assert small.send(body="SELECT number FROM numbers(1000)", max_result_bytes="100").code == "396"


def test_a_failed_query_leaves_nothing_for_the_next(small: Server) -> None:
    # The engine keeps what a failing query had written, and would put it in front of the next answer.
    broken = "SELECT number, throwIf(number = 20000, 'late') FROM numbers(30000) SETTINGS max_block_size = 1000, max_threads = 1"
    for form in ("JSONCompact", "TabSeparated", "Native"):
        assert small.send(body=broken, default_format=form).code == "395"
        assert [small.send(body="SELECT 1").body for _ in range(4)] == [b"1\n"] * 4


def running(server: Server) -> int:
    found = server.admin.command(
        "SELECT count() FROM system.processes WHERE query LIKE '%sipHash64(number)%LEAVE%' AND query NOT LIKE '%processes%'"
    )
    assert isinstance(found, int)
    return found


def test_a_query_ends_when_its_client_leaves(server: Server) -> None:
    connection = socket.create_connection(("127.0.0.1", server.port))
    body = f"{SLOW} AND 'LEAVE' != ''".encode()
    connection.sendall(
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    wait_until(lambda: running(server) == 1)
    connection.close()
    # Its own limit is 30 s; this is over as soon as the server hears of it.
    deadline = time.monotonic() + 20
    while running(server):
        assert time.monotonic() < deadline, "the query still runs"
        time.sleep(0.02)
    assert server.send(body="SELECT 1").body == b"1\n"


def test_more_than_fits_is_told_to_come_back(small: Server) -> None:
    replies: list[Reply] = []
    threads = [threading.Thread(target=lambda: replies.append(small.send(body=SLOW))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = sorted((reply.status, reply.code) for reply in replies)
    assert codes == [(408, "159")] * 4 + [(503, "202")] * 4


def test_slow_queries_do_not_block_the_server(server: Server) -> None:
    done = threading.Event()

    def slow() -> None:
        server.send(body=SLOW, max_execution_time="2")
        done.set()

    thread = threading.Thread(target=slow)
    thread.start()
    assert server.send("GET", "/ping").text == "Ok.\n"
    assert server.send(body="SELECT 1").body == b"1\n"
    assert not done.is_set()
    thread.join()


def test_clients_of_the_engine_are_reused(server: Server) -> None:
    server.send(body="SELECT 1")
    before = len(server.opened)
    for _ in range(10):
        server.send(body="SELECT 1")
        server.send(body="DROP TABLE canary")
    assert len(server.opened) == before
