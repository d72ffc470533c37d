"""The service and the commands as an outsider runs them: child processes, JSON on standard output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from tracetaxa.errors import TracetaxaError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

READY_SECONDS = 60.0
STOP_SECONDS = 30.0
STATUS_SECONDS = 10.0
_LOG_LINES = 15
_OWN_SECTIONS = ("STORE", "RECEIVER", "ASSEMBLY", "API", "SQL", "METRICS", "HEALTH", "PROFILE", "ANALYSES")


class DemoFailed(TracetaxaError):
    """Something that the demo started did not do what it should."""


class CommandFailed(DemoFailed):
    """A tracetaxa command ended with an error, which it has told on standard error."""

    def __init__(self, message: str, exit_code: int, output: str) -> None:
        super().__init__(message)
        self.status = exit_code
        self.output = output


class Service:
    """`tracetaxa serve` as a child process: takes spans inside the `with` block, has stopped after it."""

    def __init__(self, config: Path, log: Path, *, ready_seconds: float = READY_SECONDS) -> None:
        self._config = config
        self._log = log
        self._ready_seconds = ready_seconds
        self._process: subprocess.Popen[str] | None = None
        self.endpoints: Mapping[str, str] = {}

    def __enter__(self) -> Service:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                _command(self._config, "serve"),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=child_environment(),
            )
        try:
            self.endpoints = self._ready()["endpoints"]
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    def status(self) -> dict[str, Any]:
        """`GET /v1/status`."""
        url = f"http://{self.endpoints['api']}/v1/status"
        try:
            with urllib.request.urlopen(url, timeout=STATUS_SECONDS) as answer:
                status: dict[str, Any] = json.load(answer)
                return status
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise self._failed(f"does not answer at {url}: {error}") from error

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> int:
        """Asks it to stop, and makes it when it does not; returns its exit code. Safe twice."""
        process = self._process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        return process.returncode

    def _ready(self) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        # Ends the child when it is not ready in time, which ends readline too.
        alarm = threading.Timer(self._ready_seconds, process.kill)
        alarm.start()
        started = time.monotonic()
        try:
            line = process.stdout.readline()
        finally:
            alarm.cancel()
        try:
            ready: dict[str, Any] = json.loads(line)
        except ValueError:
            ready = {}
        if ready.get("event") != "ready":
            waited = time.monotonic() - started
            raise self._failed(
                f"was not ready within {self._ready_seconds:.0f} s"
                if waited >= self._ready_seconds
                else f"ended with exit code {process.wait()} before it was ready"
            )
        return ready

    def _failed(self, what: str) -> DemoFailed:
        lines = self._log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]
        return DemoFailed("\n  ".join([f"the service {what}; the end of its log, {self._log}:", *lines]))


def run_command(config: Path, *arguments: str) -> str:
    """Standard output of `tracetaxa ARGUMENTS --config CONFIG`; its standard error goes to ours.

    Raises CommandFailed for any other exit code than 0.
    """
    done = subprocess.run(  # noqa: S603
        _command(config, *arguments),
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=child_environment(),
        check=False,
    )
    if done.returncode:
        what = f"tracetaxa {arguments[0]} ended with exit code {done.returncode}"
        raise CommandFailed(what, done.returncode, done.stdout)
    return done.stdout


def rows(config: Path, sql: str) -> list[dict[str, Any]]:
    """Rows of `tracetaxa query`."""
    data: list[dict[str, Any]] = json.loads(run_command(config, "query", sql, "--format", "json"))["data"]
    return data


def wait_until_assembled(service: Service, traces: int, *, seconds: float) -> dict[str, Any]:
    """Waits until the service has closed `traces` traces and none is open; returns its status then."""
    deadline = time.monotonic() + seconds
    while True:
        status = service.status()
        if not status["open_traces"] and status["closed_traces"] >= traces:
            return status
        if time.monotonic() > deadline:
            raise DemoFailed(
                f"after {seconds:.0f} s, {status['closed_traces']} of {traces} traces are assembled and "
                f"{status['open_traces']} are open; last error: {status['last_error'] or 'none'}"
            )
        time.sleep(0.2)


def child_environment() -> dict[str, str]:
    """Ours, without variables that would move the demo's service to another database or port."""
    prefixes = tuple(f"TRACETAXA_{section}" for section in _OWN_SECTIONS)
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


def _command(config: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tracetaxa.cli", *arguments, "--config", str(config)]
