"""The test database is the real one: one path a process when it is embedded, one database name a test.

What a store promises, it promises everywhere: the modules in EVERY_STORE run on the embedded engine, on the same
engine over ClickHouse's HTTP interface, and on the server of TRACETAXA_TEST_CLICKHOUSE_DSN when that is set.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clickhouse_http import ClickHouseServer
from databases import Databases, create_schema, get_client
from tracetaxa.store.database import ClickHouse
from tracetaxa.store.dsn import Dsn, parse_dsn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clickhouse_connect.driver.client import Client

# A shell starts what runs in the background with interrupts ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Services and commands start often: what the first one compiles is kept for the others.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 2 << 30
SERVER_DSN = "TRACETAXA_TEST_CLICKHOUSE_DSN"
EVERY_STORE = {
    *("test_assembler", "test_attach", "test_backfill", "test_feedback_assembly"),
    *("test_forwarder", "test_forwarding_turns"),
    "test_logs",
    *(
        "test_labeller",
        "test_reply_cache",
        "test_sample",
        "test_schedule_lease",
        "test_session_analysis",
        "test_sessions",
        "test_store",
        "test_tables",
    ),
}


def pytest_configure(config: pytest.Config) -> None:
    """Databases make and remove many small files: where memory offers a file system, they are there."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    module = metafunc.module.__name__.rpartition(".")[2]
    if "dsn" in metafunc.fixturenames and module in EVERY_STORE:
        kinds = ["embedded", "http", *(["server"] if os.environ.get(SERVER_DSN) else [])]
        metafunc.parametrize("dsn", kinds, indirect=True)


@pytest.fixture(scope="session")
def chdb_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this process keeps its embedded ClickHouse; a second path in one process is an error."""
    return tmp_path_factory.mktemp("chdb")


@pytest.fixture(scope="session")
def http_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """The engine in another process, behind ClickHouse's HTTP interface."""
    with ClickHouseServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def dsn(request: pytest.FixtureRequest, chdb_path: Path) -> Dsn:
    """Where the test's database is: embedded, unless the module is one of EVERY_STORE."""
    match getattr(request, "param", "embedded"):
        case "http":
            server: ClickHouseServer = request.getfixturevalue("http_server")
            return parse_dsn(server.dsn())
        case "server":
            return parse_dsn(os.environ[SERVER_DSN])
        case _:
            return Dsn(path=chdb_path)


@pytest.fixture(scope="session")
def databases() -> Iterator[dict[Dsn, Databases]]:
    """Of each engine that this process tests on."""
    made: dict[Dsn, Databases] = {}
    yield made
    # The other engines end with this process.
    if SERVER_DSN in os.environ and (kept := made.get(parse_dsn(os.environ[SERVER_DSN]))):
        kept.close()


@pytest.fixture
def database_name(request: pytest.FixtureRequest, dsn: Dsn, databases: dict[Dsn, Databases]) -> Iterator[str]:
    """A database of this test alone: with the product's schema for a test with `with_schema`, else empty."""
    if dsn not in databases:
        databases[dsn] = Databases(dsn)
    of_engine = databases[dsn]
    if "with_schema" in request.fixturenames:
        name = of_engine.lend()
        yield name
        of_engine.take_back(name)
    else:
        name = of_engine.make()
        yield name
        of_engine.drop(name)


@pytest.fixture
def connect(dsn: Dsn, database_name: str) -> Iterator[Callable[[], Client]]:
    """Opens clients of this test's database; one client is one lock, several run in parallel."""
    clients: list[Client] = []

    def connect() -> Client:
        clients.append(get_client(dsn, database_name))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[[], Client]) -> Client:
    """A clickhouse-connect client whose current database is this test's own."""
    return connect()


@pytest.fixture
def open_store(dsn: Dsn, database_name: str) -> Iterator[Callable[[], ClickHouse]]:
    """Opens the product's own store, with its schema, in this test's database; one at a time."""
    opened: list[ClickHouse] = []

    def open_store() -> ClickHouse:
        if opened:
            opened.pop().close()
        opened.append(ClickHouse.open(dsn, database_name, readers=2))
        create_schema(opened[-1])
        return opened[-1]

    yield open_store
    for store in opened:
        store.close()


@pytest.fixture
def with_schema() -> None:
    """Asking for it is what counts, see `database_name`."""


@pytest.fixture
def store(
    dsn: Dsn, databases: dict[Dsn, Databases], database_name: str, with_schema: None
) -> Iterator[ClickHouse]:
    """The product's own store with its schema, in this test's database."""
    with databases[dsn].store(database_name) as store:
        yield store
