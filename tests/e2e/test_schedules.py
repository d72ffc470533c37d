"""Scheduled runs of the real service: by two on one server, handed over when one is killed, resumed after a restart."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import clickhouse_connect
import pytest

from clickhouse_http import PASSWORD, ClickHouseServer
from product import Product
from tracetaxa.demo.child import child_environment, wait_until_assembled
from tracetaxa.testing import Oracle, ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tracetaxa.demo.child import Service

DEADLINE_SECONDS = 120
CHATS = 60
CONCURRENCY = 2
LEASE_SECONDS = 3
KINDS = {
    "refund": ("Refunds", "Late refund"),
    "parcel": ("Deliveries", "Lost parcel"),
    "password": ("Accounts", "Forgotten password"),
}
LLM = {"engine": "openai", "traces_per_call": 4, "digests_per_batch": 20, "max_concurrency": CONCURRENCY}
HOUR = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
"""When the runs of these tests were due: an hour of today, and not again this year."""


def slow_model() -> ScriptedModel:
    oracle = Oracle(lambda digest: next((kind for word, kind in KINDS.items() if word in digest), None))

    def answer(messages: Any, schema: Any) -> Any:
        time.sleep(0.05)  # so that a kill finds calls under way
        return oracle(messages, schema)

    return ScriptedModel(answer)


def rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def with_chats(product: Product) -> Product:
    """Chats that ended ten minutes before the scheduled time, as traces."""
    chats = product.directory / "chats.jsonl"
    words = list(KINDS)
    with chats.open("w") as file:
        for i in range(CHATS):
            asked = f"Hello, I have a {words[i % 3]} problem, number {i}"
            said = [{"role": "user", "content": asked}, {"role": "assistant", "content": "I see."}]
            file.write(json.dumps({"messages": said}) + "\n")
    product.json("import", str(chats), "--at", rfc3339(HOUR - timedelta(minutes=10)), "--format", "json")
    with product.serve() as service:
        wait_until_assembled(service, CHATS, seconds=DEADLINE_SECONDS)
    return product


def scheduled(name: str) -> dict[str, Any]:
    """The sections of a service that runs this analysis at the hour."""
    return {
        "llm": LLM,
        "analyses": [{"name": name, "schedule": f"0 {HOUR.hour} {HOUR.day} {HOUR.month} *", "window": "2h"}],
        "scheduler": {
            "settle_seconds": 0,
            "jitter_seconds": 0,
            "tick_seconds": 0.1,
            "lease_seconds": LEASE_SECONDS,
            "claim_seconds": 0.2,
        },
    }


def known_since_yesterday(name: str) -> str:
    """The row of a schedule that was there before, so that the hour is due when the service starts."""
    schedule = f"{scheduled(name)['analyses'][0]['schedule']} UTC"
    return (
        "INSERT INTO scheduled_runs (Analysis, Schedule, ScheduledFor, Status, Settled, At) VALUES "
        f"('{name}', '{schedule}', '{HOUR - timedelta(days=1):%F %T}', 'since', true, now64(9))"
    )


def write(product: Product, sql: str) -> None:
    """In a process of its own: this one may have another embedded database open."""
    code = (
        "import sys; from pathlib import Path; from tracetaxa.access import open_store; "
        "from tracetaxa.config import load; store = open_store(load(Path(sys.argv[1])), 'test'); "
        "store.connect().command(sys.argv[2]); store.close()"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(product.config), sql], check=True, env=child_environment()
    )


def soon(ask: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not ask():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def outcome(service: Service) -> dict[str, Any]:
    """What the service says of its schedule."""
    (status,) = service.status()["schedules"]
    assert isinstance(status, dict)
    return status


def undisturbed_calls(product: Product, monkeypatch: pytest.MonkeyPatch) -> int:
    """Of a run over the same traces, by hand and in peace."""
    with slow_model() as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        window = ("--to", rfc3339(HOUR), "--window", "2h")
        done = product.json("analyze", "in_peace", *window, "--format", "json")
        assert (done["status"], done["labelled"]) == ("complete", CHATS)
        return model.usage.calls


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClickHouseServer]:
    with ClickHouseServer(tmp_path / "clickhouse") as server:
        yield server


@pytest.mark.slow
def test_two_services_on_one_server(
    server: ClickHouseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")

    def replica(name: str, analysis: str) -> Product:
        directory = tmp_path / f"{name}-{analysis}"
        directory.mkdir()
        return Product(directory).configure(store={"dsn": server.dsn()}, **scheduled(analysis))

    first = with_chats(Product(tmp_path).configure(store={"dsn": server.dsn()}, llm=LLM))
    with clickhouse_connect.get_client(
        host="127.0.0.1", port=server.port, password=PASSWORD, database="otel", autogenerate_session_id=False
    ) as client:

        def runs(analysis: str) -> list[tuple[Any, ...]]:
            sql = f"SELECT RunId, toString(Status), TracesLabelled, Error FROM analysis_runs WHERE Analysis = '{analysis}'"
            return list(client.query(sql).result_rows)

        calls = undisturbed_calls(first, monkeypatch)

        # Both have the time due at once: one does it.
        client.command(known_since_yesterday("shared"))
        with slow_model() as model, contextlib.ExitStack() as stack:
            monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
            services = [stack.enter_context(replica(name, "shared").serve()) for name in ("one", "two")]
            # A third by hand, of the same window, while they are at it: the same run.
            soon(lambda: bool(runs("shared")))
            by_hand = replica("hand", "shared").json(
                "analyze", "shared", "--to", rfc3339(HOUR), "--format", "json"
            )
            soon(lambda: all(outcome(service)["last"] is not None for service in services))
            told = [outcome(service) for service in services]
            assert told[0] == told[1]
            assert (told[0]["last"]["status"], told[0]["due"]) == ("complete", [])
            assert runs("shared") == [(told[0]["last"]["run_id"], "complete", CHATS, "")]
            assert by_hand["run_id"] == told[0]["last"]["run_id"]
            print(f"calls: {calls} in peace, {model.usage.calls} with two services and one by hand")
            assert model.usage.calls <= 1.05 * calls

        # The one that runs it is killed: the other goes on with the same run.
        client.command(known_since_yesterday("killed"))
        with slow_model() as model, contextlib.ExitStack() as stack:
            monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
            services = [stack.enter_context(replica(name, "killed").serve()) for name in ("one", "two")]
            soon(lambda: model.usage.calls >= 5)
            (holder,) = client.query(
                "SELECT DISTINCT Holder FROM run_leases WHERE Analysis = 'killed' AND Event = 'held'"
            ).result_rows[0]
            (begun,) = runs("killed")
            os.kill(int(holder.split(":")[1]), signal.SIGKILL)
            alive = next(service for service in services if f":{service.pid}:" not in holder)
            soon(lambda: outcome(alive)["last"] is not None)
            assert outcome(alive)["last"]["status"] == "complete"
            had_the_turn = (
                "SELECT uniqExact(Holder) FROM run_leases WHERE Analysis = 'killed' AND Event = 'held'"
            )
            assert client.query(had_the_turn).result_rows == [(2,)]
            assert runs("killed") == [(begun[0], "complete", CHATS, "")]
            print(f"calls: {model.usage.calls} when the one that runs it is killed")
            assert model.usage.calls <= calls + CONCURRENCY


@pytest.mark.slow
def test_a_stopped_and_a_killed_service_resume(product: Product, monkeypatch: pytest.MonkeyPatch) -> None:
    """Embedded: there is nobody to hand over to, so the next start of the service goes on."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with_chats(product.configure(llm=LLM))
    calls = undisturbed_calls(product, monkeypatch)
    product.configure(**scheduled("topics"))

    def newest() -> dict[str, Any]:
        sql = "SELECT RunId, toString(Status) AS Status, Error, TracesLabelled FROM analysis_runs WHERE Analysis = 'topics'"
        (run,) = product.rows(sql)
        return run

    with slow_model() as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        write(product, known_since_yesterday("topics"))
        with product.serve() as service:
            soon(lambda: model.usage.calls >= 4)
            assert service.stop() == 0
        stopped = newest()
        assert (stopped["Status"], "resumes it" in stopped["Error"]) == ("cancelled", True)
        with product.serve() as service:
            soon(lambda: model.usage.calls >= 8)
            os.kill(service.pid, signal.SIGKILL)
        with product.serve() as service:
            soon(lambda: outcome(service)["last"] is not None)
            assert outcome(service)["last"]["run_id"] == stopped["RunId"]
            assert service.status()["last_error"] is None
        done = newest()
        assert (done["RunId"], done["Status"], done["TracesLabelled"]) == (
            stopped["RunId"],
            "complete",
            CHATS,
        )
        print(f"calls: {calls} in peace, {model.usage.calls} when stopped once and killed once")
        assert model.usage.calls <= calls + 2 * CONCURRENCY
