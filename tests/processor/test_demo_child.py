from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from tracetaxa.demo.child import (
    CommandFailed,
    DemoFailed,
    Service,
    child_environment,
    run_command,
    wait_until_assembled,
)
from tracetaxa.demo.memory import MIB, PeakMemory, tree_memory
from tracetaxa.demo.run import Place

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_variables_that_would_move_the_service_do_not_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACETAXA_STORE__DSN", "clickhouse://production")
    monkeypatch.setenv("TRACETAXA_RECEIVER__GRPC__ENDPOINT", "127.0.0.1:4317")
    monkeypatch.setenv("TRACETAXA_LLM__TAXONOMY_MODEL", "some-model")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    environment = child_environment()
    assert {name for name in environment if name.startswith("TRACETAXA")} == {"TRACETAXA_LLM__TAXONOMY_MODEL"}
    assert environment["OPENAI_BASE_URL"] == "http://127.0.0.1:1/v1"


def test_a_service_that_ends_at_once_shows_the_end_of_its_log(tmp_path: Path) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text("no_such_section: 1\n", "utf-8")
    service = Service(config, tmp_path / "serve.log")
    with (
        pytest.raises(DemoFailed, match=r"ended with exit code 2 before it was ready(.|\n)*no_such_section"),
        service,
    ):
        pass
    assert service.stop() == 2


def test_a_failing_command_tells_its_exit_code(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text("no_such_section: 1\n", "utf-8")
    with pytest.raises(CommandFailed, match="tracetaxa query ended with exit code 2") as failed:
        run_command(config, "query", "SELECT 1")
    assert failed.value.status == 2
    assert "no_such_section" in capfd.readouterr().err


def test_the_config_is_valid_and_keeps_everything_in_its_directory(tmp_path: Path) -> None:
    from tracetaxa.config import load
    from tracetaxa.store.dsn import parse_dsn

    place = Place(tmp_path / 'a "strange" näme: #1')
    place.prepare()
    config = load(place.config)
    assert parse_dsn(config.store.dsn).path == place.directory / "data"
    endpoints = (config.receiver.grpc, config.api, config.sql, config.health, config.metrics)
    assert {part.endpoint for part in endpoints} == {"127.0.0.1:0"}


@pytest.fixture
def status_service(tmp_path: Path) -> Iterator[tuple[Service, list[dict[str, object]]]]:
    """A service whose /v1/status answers what the list holds, one after the other, the last one for ever."""
    answers: list[dict[str, object]] = []

    class Status(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, format: str, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Status)
    Thread(target=server.serve_forever, daemon=True).start()
    service = Service(tmp_path / "none.yaml", tmp_path / "serve.log")
    service.endpoints = {"api": f"127.0.0.1:{server.server_port}"}
    yield service, answers
    server.shutdown()
    server.server_close()


def status(open_traces: int, closed_traces: int) -> dict[str, object]:
    return {"open_traces": open_traces, "closed_traces": closed_traces, "last_error": "disk full"}


def test_waiting_ends_when_every_trace_is_closed(
    status_service: tuple[Service, list[dict[str, object]]],
) -> None:
    service, answers = status_service
    answers += [status(0, 0), status(3, 7), status(1, 10), status(0, 10)]
    assert wait_until_assembled(service, 10, seconds=30) == status(0, 10)


def test_waiting_too_long_says_how_far_it_is(
    status_service: tuple[Service, list[dict[str, object]]],
) -> None:
    service, answers = status_service
    answers += [status(2, 8)]
    with pytest.raises(
        DemoFailed, match="8 of 10 traces are assembled and 2 are open; last error: disk full"
    ):
        wait_until_assembled(service, 10, seconds=0)


def test_a_service_that_is_gone_is_an_error(tmp_path: Path) -> None:
    service = Service(tmp_path / "none.yaml", tmp_path / "serve.log")
    (tmp_path / "serve.log").write_text("killed by somebody\n", "utf-8")
    service.endpoints = {"api": "127.0.0.1:1"}
    with pytest.raises(DemoFailed, match=r"does not answer(.|\n)*killed by somebody"):
        service.status()


@pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="only Linux tells the memory of other processes"
)
def test_memory_of_children_counts() -> None:
    program = "data = bytearray(300 * 2**20); print('ready', flush=True); input()"
    before = tree_memory(os.getpid())
    memory = PeakMemory(interval_seconds=0.01)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        assert tree_memory(os.getpid()) > before + 290 * MIB
        child.communicate("\n")
    assert memory.stop() == memory.stop() > 290 * MIB
