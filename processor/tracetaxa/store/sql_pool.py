"""Runs checked questions in threads, each under limits, and ends those that nobody waits for any more.

A client is one lock in the embedded engine, so there is one per thread. A client whose query failed is closed
and replaced: the engine would put what that query had already written in front of the next answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import threading
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from clickhouse_connect.driver.exceptions import ClickHouseError

from tracetaxa.errors import QueryFailed, QueryRefused, StoreUnavailable, TracetaxaError
from tracetaxa.store import allowed
from tracetaxa.store.database import statement
from tracetaxa.store.guard import CheckedQuery, Guard, settings_clause
from tracetaxa.store.native_blocks import native_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from clickhouse_connect.driver.client import Client

    from tracetaxa.store.syntax import FunctionNames


READ_ONLY = "1"
"""No writing, no changing of settings, no table functions that open files or connections."""
READ_ONLY_BUT_SETTINGS = "2"
"""Under 1, `system.settings` calls every setting unchangeable, and drivers then refuse to send any."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one question."""

    execution_seconds: float = 30
    memory_bytes: int = 2 << 30
    result_bytes: int = 256 << 20
    threads: int = 4
    query_bytes: int = 256 << 10

    def settings(self, asked: Mapping[str, str]) -> dict[str, str]:
        """ClickHouse settings: those asked for, within these limits, and read-only."""
        caps = {
            "max_execution_time": self.execution_seconds,
            "max_memory_usage": self.memory_bytes,
            "max_result_bytes": self.result_bytes,
            "max_threads": self.threads,
        }
        settings = {n: v for n, v in asked.items() if n not in caps and n not in allowed.IGNORED_SETTINGS}
        for name, cap in caps.items():
            settings[name] = _capped(name, asked.get(name, ""), cap)
        return settings | {"readonly": READ_ONLY, "allow_introspection_functions": "0"}


@dataclass(frozen=True, slots=True)
class Question:
    sql: str
    format: str = "TabSeparated"
    """When the SQL names none."""
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Values in ClickHouse's escaped text form, as they come in `param_name=`."""
    protocol_version: int = 0
    """Of the Native format; 0 is the one of files."""


@dataclass(frozen=True, slots=True)
class Answer:
    body: bytes
    format: str
    elapsed_ns: int
    timezone: str


class Gone(Exception):
    """Nobody waits for the answer any more."""


class _EscapedText:
    """A parameter that is escaped already: the client escapes str, and takes `str()` of anything else."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


@dataclass(slots=True)
class _Job:
    question: Question
    tag: str = field(default_factory=lambda: uuid.uuid4().hex)
    gone: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class _Reader:
    client: Client
    guard: Guard
    timezone: str


class QueryPool:
    """Answers questions from one event loop. `close` waits for those under way; safe twice."""

    def __init__(
        self,
        connect: Callable[[], Client],
        database: str,
        limits: Limits,
        *,
        max_concurrency: int = 4,
        max_waiting: int = 64,
        kill_interval_seconds: float = 0.2,
    ) -> None:
        self._connect = connect
        self._database = database
        self._limits = limits
        self._room = max_concurrency + max_waiting
        self._kill_interval_seconds = kill_interval_seconds
        self._pending: set[Future[Answer]] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._idle: SimpleQueue[_Reader] = SimpleQueue()
        self._functions: FunctionNames | None = None
        self._threads = ThreadPoolExecutor(max_concurrency, thread_name_prefix="sql")
        self._killer = ThreadPoolExecutor(1, thread_name_prefix="sql-kill")

    async def answer(self, question: Question, gone: Callable[[], Coroutine[Any, Any, None]]) -> Answer:
        """The answer, or Gone as soon as `gone()` is done; then and when cancelled, the query is ended.

        Raises QueryRefused, QueryFailed, and StoreUnavailable when too many questions wait.
        """
        if len(self._pending) >= self._room:
            raise StoreUnavailable(f"{len(self._pending)} queries wait already; ask again later")
        job = _Job(question)
        future = self._threads.submit(self._run, job)
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        answer, leaving = asyncio.wrap_future(future), asyncio.create_task(gone())
        either: list[asyncio.Future[Any]] = [answer, leaving]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise Gone
            return answer.result()
        finally:
            leaving.cancel()
            if not answer.done():
                job.gone.set()
                ending = asyncio.create_task(self._end(job, future, answer))
                self._endings.add(ending)
                ending.add_done_callback(self._endings.discard)

    def close(self) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._killer.shutdown(wait=True)
        with contextlib.suppress(Empty):
            while True:
                self._idle.get_nowait().client.close()

    async def _end(self, job: _Job, future: Future[Answer], answer: asyncio.Future[Answer]) -> None:
        # Again and again: the query may not have begun when the first KILL looked for it.
        while not future.cancel() and not future.done():
            await asyncio.wrap_future(self._killer.submit(self._kill, job.tag))
            await asyncio.wait({answer}, timeout=self._kill_interval_seconds)
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await answer

    # ------------------------------------------------------------------------------- in a thread

    def _run(self, job: _Job) -> Answer:
        reader = self._reader()
        clean = True
        try:
            checked = reader.guard.examine(job.question.sql)
            if job.gone.is_set():
                raise Gone
            clean = False
            answer = self._execute(reader, checked, job)
            clean = True
            return answer
        finally:
            if clean:
                self._idle.put(reader)
            else:
                reader.client.close()

    def _execute(self, reader: _Reader, checked: CheckedQuery, job: _Job) -> Answer:
        question = job.question
        asked = {**question.settings, **checked.settings}
        of_types = {
            n: v for n, v in asked.items() if n not in _OF_ROWS and not n.startswith("output_format_")
        }
        given = {n: _EscapedText(v) for n, v in question.parameters.items() if n in checked.parameters}
        output = checked.format or question.format
        started = time.perf_counter_ns()

        def ask(sql: str, form: str, settings: Mapping[str, str]) -> bytes:
            within = self._limits.settings(settings) | {"log_comment": job.tag}
            if "settings" in checked.system_tables:
                within["readonly"] = READ_ONLY_BUT_SETTINGS
            text = f"{sql} FORMAT {form} SETTINGS {settings_clause(within)}"
            return reader.client.raw_query(text, parameters=given)

        try:
            if output == "Native" and question.protocol_version > 0:
                described = ask(f"DESCRIBE ({checked.text})", "JSONCompactEachRow", of_types)
                columns = [tuple(json.loads(line)[:2]) for line in described.splitlines()]
                buffers = ask(checked.text, "Buffers", asked)
                body = native_blocks(buffers, columns, question.protocol_version)
            else:
                body = ask(checked.text, output, asked)
        except ClickHouseError as error:
            raise QueryFailed(str(error).strip().split("\n")[0][:4000]) from error
        if len(body) > self._limits.result_bytes:
            raise QueryFailed(
                "Code: 396. DB::Exception: Limit for result exceeded, max bytes: "
                f"{self._limits.result_bytes}, current bytes: {len(body)}. (TOO_MANY_ROWS_OR_BYTES)"
            )
        elapsed_ns = time.perf_counter_ns() - started
        timezone = asked.get("session_timezone") or reader.timezone
        return Answer(body, output, elapsed_ns, timezone)

    def _reader(self) -> _Reader:
        try:
            return self._idle.get_nowait()
        except Empty:
            client = self._client()
        guard = Guard(
            client, self._database, max_query_bytes=self._limits.query_bytes, functions=self._functions
        )
        self._functions = guard.functions
        return _Reader(client, guard, str(client.query(statement("guard/timezone")).result_rows[0][0]))

    def _client(self) -> Client:
        client = self._connect()
        # Unqualified names must mean this database, whatever the factory chose.
        client.database = self._database
        return client

    def _kill(self, tag: str) -> None:
        # It is tried again, and the query's own time limit ends it at the latest.
        with (
            contextlib.suppress(ClickHouseError, TracetaxaError),
            contextlib.closing(self._client()) as client,
        ):
            client.command(statement("guard/kill_query"), parameters={"tag": tag})


_OF_ROWS = frozenset(
    {"limit", "offset", "extremes", "max_result_rows", "max_result_bytes", "max_rows_to_read"}
)
"""Settings of a query's rows, which must not cut the list of its columns."""


def _capped(name: str, asked: str, cap: float) -> str:
    """ClickHouse reads 0 as no limit, so 0 and more than the cap are the cap."""
    try:
        number = float(asked) if asked else 0.0
    except ValueError:
        raise QueryRefused(f"the setting {name} needs a number, not {asked!r}") from None
    number = number if math.isfinite(number) and 0 < number < cap else cap
    return str(number if name == "max_execution_time" else max(1, int(number)))
