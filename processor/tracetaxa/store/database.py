"""One ClickHouse, embedded or a server, through `clickhouse-connect`: implements protocols.Database.

Inserts and reads have clients of their own, since a client is one lock in the embedded engine. Statements
are files, `store/sql/<name>.sql`, bound with ClickHouse's parameters; nothing is ever pasted into SQL, except
the `filter.where` condition of an analysis, which is checked and canonicalised first (see guard.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from importlib import resources
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError, ProgrammingError

from tracetaxa.errors import (
    ConfigError,
    EngineUnavailable,
    NotFound,
    QueryFailed,
    QueryRefused,
    StoreUnavailable,
)
from tracetaxa.store import cluster as clusters
from tracetaxa.store.dsn import Dsn
from tracetaxa.store.owner import Ownership, find_owner, in_use
from tracetaxa.store.rows import to_columns, to_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from clickhouse_connect.driver.client import Client

T = TypeVar("T")

_READ_FORMATS = {"DateTime64*": "int", "DateTime": "int"}
_RAW_FORMATS = {**_READ_FORMATS, "String": "bytes"}
_WHERE_MARK = "/* where */ 1"
_INCLUDE = re.compile(r"/\* include (\w+) \*/")
_BUSY_CODES = frozenset({159, 202, 209, 210, 241, 242, 243, 252, 319, 425, 999})
"""ClickHouse error codes after which the same call may work: timeouts, memory, too many parts or queries,
read-only tables, no space, lost connections (src/Common/ErrorCodes.cpp)."""
_REFUSED_CODES = frozenset({164, 497})
"""READONLY and ACCESS_DENIED."""
_LOGIN_CODES = frozenset({192, 193, 194, 516})
"""UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD and AUTHENTICATION_FAILED."""
_UNKNOWN_DATABASE = 81
_PROXY_STATUS = re.compile(r"HTTP status (429|5\d\d)")
_INSERT_SETTINGS = {
    # Newer servers put small inserts into a queue of their own by default; what we write is read at once.
    "async_insert": 0,
    # Over HTTP, an error after the first byte of the answer would look like success.
    "wait_end_of_query": 1,
}

# They warn of each request that fails, with all its parameters, and then raise it: it is told once, by us.
for _name in ("clickhouse_connect.driver", "urllib3.connectionpool"):
    logging.getLogger(_name).setLevel(logging.ERROR)


@cache
def statement(name: str) -> str:
    """Text of `store/sql/<name>.sql`, with what it includes of `store/sql/fragments`."""
    text = resources.files("tracetaxa.store").joinpath("sql", f"{name}.sql").read_text("utf-8")
    return _INCLUDE.sub(lambda mark: statement(f"fragments/{mark[1]}").rstrip(), text)


class ClickHouse:
    """Thread-safe, and usable from one event loop. `close` may be called twice.

    connect_timeout_seconds, silence_timeout_seconds: how long a server may take to be reached, and to say
    nothing while it works (it reports progress at shorter intervals), before it counts as gone.
    cluster: the tables are spread over the ClickHouse cluster of this name. Raises ConfigError for the
    embedded engine, which is in none.
    """

    def __init__(
        self,
        dsn: Dsn,
        database: str,
        readers: int = 4,
        *,
        connect_timeout_seconds: float = 10,
        silence_timeout_seconds: float = 60,
        cluster: str | None = None,
    ) -> None:
        if cluster is not None and dsn.embedded:
            raise ConfigError("store.cluster needs ClickHouse servers: point store.dsn at one of the cluster")
        self.dsn = dsn
        self.database = database
        self.cluster = clusters.Cluster(cluster, database) if cluster is not None else None
        self._timeouts = {
            "connect_timeout": connect_timeout_seconds,
            "send_receive_timeout": silence_timeout_seconds,
        }
        self._readers = readers
        self._idle: SimpleQueue[Client] = SimpleQueue()
        self._clients: WeakSet[Client] = WeakSet()
        self._insert_lock = threading.Lock()
        self._threads = ThreadPoolExecutor(readers + 2, thread_name_prefix="clickhouse")
        self._writer: Client | None = None
        self.ownership: Ownership | None = None
        """Held while this process has an embedded database open."""
        self.through_service = False
        """The database is reached through the read-only SQL endpoint of the service that owns it."""
        self.closed = False

    @classmethod
    def open(
        cls,
        dsn: Dsn,
        database: str,
        readers: int = 4,
        *,
        command: str = "tracetaxa",
        cluster: str | None = None,
    ) -> ClickHouse:
        """Connect as the one who may change things; the database is created when it is missing.

        Raises DatabaseInUse when another process has this embedded database open, ConfigError,
        StoreUnavailable, QueryFailed and EngineUnavailable (the embedded engine is not installed).
        """
        store = cls(dsn, database, readers, cluster=cluster)
        if dsn.path is not None:
            store.ownership = Ownership.claim(dsn.path, command)
        try:
            with _typed_errors(dsn):
                admin = store._get_client(database=None)
                create = statement("schema/create_database")
                for text in store.cluster.statements(create) if store.cluster else (create,):
                    admin.command(text, parameters={"name": database})
                admin.close()
            store._open_readers()
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open_for_reading(
        cls,
        dsn: Dsn,
        database: str,
        readers: int = 1,
        *,
        token: str = "",
        command: str = "tracetaxa",
        cluster: str | None = None,
    ) -> ClickHouse:
        """Like `open`, but an embedded database that a service owns is reached through that service.

        On a server nothing is created, so a user who may only read is enough. Raises NotFound when the
        database has not been made yet.
        """
        if dsn.path is None or cluster is not None:
            store = cls(dsn, database, readers, cluster=cluster)
            try:
                store._open_readers()
            except BaseException as error:
                store.close()
                if getattr(error.__cause__, "code", None) == _UNKNOWN_DATABASE:
                    raise NotFound(
                        f"there is no database {database} at {dsn} yet: `tracetaxa serve` makes it"
                    ) from error
                raise
            return store
        if not dsn.path.exists():
            raise NotFound(f"there is no database at {dsn.path} yet: `tracetaxa serve` makes it")
        owner = find_owner(dsn.path)
        if owner is None:
            return cls.open(dsn, database, readers, command=command)
        if "sql" not in owner.endpoints:
            raise in_use(dsn.path, owner)
        host, _, port = owner.endpoints["sql"].rpartition(":")
        store = cls(Dsn(host=host.strip("[]"), port=int(port), password=token), database, readers)
        store.through_service = True
        store._open_readers()
        return store

    def _open_readers(self) -> None:
        for _ in range(self._readers):
            self._idle.put(self.connect())

    def connect(self) -> Client:
        """A client of its own whose current database is ours; closed with this object."""
        with _typed_errors(self.dsn):
            client = self._get_client(self.database)
        self._clients.add(client)
        return client

    def _get_client(self, database: str | None) -> Client:
        options: dict[str, Any] = dict(self.dsn.arguments())
        if not self.dsn.embedded:
            # Without a session several threads may share one client.
            options |= {"autogenerate_session_id": False, "client_name": "tracetaxa"} | self._timeouts
        if self.cluster is not None:
            options["settings"] = dict(clusters.SETTINGS)
        if database is not None:
            options["database"] = database
        try:
            return clickhouse_connect.get_client(**options)
        except ImportError as error:
            raise EngineUnavailable(
                "the embedded database needs the engine: pip install 'tracetaxa[embedded]', "
                "or point store.dsn at a ClickHouse server"
            ) from error

    def close(self) -> None:
        self.closed = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        for client in list(self._clients):
            client.close()
        if self.ownership is not None:
            self.ownership.release()

    # ------------------------------------------------------------------------------- protocols.Database

    async def rows(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        names, rows = await self._in_thread(self._select, name, parameters)
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def raw_rows(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        names, rows = await self._in_thread(self._select, name, parameters, _RAW_FORMATS)
        return [dict(zip(names, row, strict=True)) for row in rows]

    async def records(self, name: str, into: type[T], **parameters: Any) -> list[T]:
        names, rows = await self._in_thread(self._select, name, parameters)
        return to_records(into, names, rows)

    async def command(self, name: str, **parameters: Any) -> None:
        await self._in_thread(self._command, name, parameters)

    async def insert(self, table: str, records: Sequence[Any]) -> None:
        if records:
            await self._in_thread(self._insert, table, records)

    # ------------------------------------------------------------------------------- in a thread

    async def _in_thread(self, call: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *arguments))

    @contextlib.contextmanager
    def reader(self) -> Iterator[Client]:
        """A reading client for the length of the block; waits for one to be idle.

        After a failure the client is replaced: the embedded engine would put what the failed query had
        written already before the next answer.
        """
        client = self._idle.get()
        try:
            with _typed_errors(self.dsn):
                yield client
        except BaseException:
            if self.dsn.embedded:
                client.close()
                client = self.connect()
            raise
        finally:
            self._idle.put(client)

    def _select(
        self, name: str, parameters: dict[str, Any], formats: dict[str, str] = _READ_FORMATS
    ) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        text = statement(name)
        where = parameters.pop("where", "")
        if where:
            text = text.replace(_WHERE_MARK, f"({where})")
        with self.reader() as client:
            result = client.query(text, parameters=parameters, query_formats=formats)
            # Without its id and without columns an answer was cut off in its headers.
            if not (result.column_names or result.summary.get("query_id") or self.dsn.embedded):
                raise StoreUnavailable(
                    f"the answer of ClickHouse at {self.dsn} was cut off: it has no X-ClickHouse-Query-Id"
                )
            return result.column_names, result.result_rows

    def _command(self, name: str, parameters: dict[str, Any]) -> None:
        text = statement(name)
        cluster = self.cluster if text.startswith("ALTER TABLE") else None
        with self.reader() as client:
            for on_server in cluster.statements(text) if cluster else (text,):
                client.command(on_server, parameters=parameters)

    def _insert(self, table: str, records: Sequence[Any]) -> None:
        names, columns = to_columns(records)
        with self._insert_lock:
            if self._writer is None:
                self._writer = self.connect()
            with _typed_errors(self.dsn):
                self._writer.insert(
                    table, columns, column_names=names, column_oriented=True, settings=_INSERT_SETTINGS
                )


@contextlib.contextmanager
def _typed_errors(dsn: Dsn) -> Iterator[None]:
    try:
        yield
    except ClickHouseError as error:
        code = getattr(error, "code", None)
        if isinstance(error, ProgrammingError) and "Cannot lock" in str(error):
            raise StoreUnavailable(f"{dsn} is open in another process") from error
        # Without a code it is not ClickHouse who answers, but nobody, or a proxy in front of it.
        unreachable = not code and (isinstance(error, OperationalError) or _PROXY_STATUS.search(str(error)))
        if unreachable or code in _BUSY_CODES:
            raise StoreUnavailable(f"ClickHouse at {dsn} does not answer now: {_plain(error)}") from error
        if code in _REFUSED_CODES:
            raise QueryRefused(_plain(error)) from error
        if code in _LOGIN_CODES:
            raise QueryFailed(f"ClickHouse at {dsn} refuses this login: {_plain(error)}") from error
        raise QueryFailed(_plain(error)) from error


def _plain(error: Exception) -> str:
    """ClickHouse's own sentence, or the system's, without what driver and transport put around it."""
    cause: BaseException | None = error.__cause__
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.strerror or str(cause)
        reason = getattr(cause, "reason", None)
        cause = reason if isinstance(reason, Exception) else cause.__cause__ or cause.__context__
    text = re.sub(r" \(for url [^)]*\)$", "", str(error).strip().split("\n")[0])
    text = re.sub(r"[:.]? In scope .*$|\.? \([A-Z_]+\)$", "", text)
    return re.sub(r"^.*?DB::Exception: ", "", text)[:1000]
