"""`tracetaxa serve` as a child process that may be killed, started again and measured."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracetaxa.demo.child import child_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from product import Product

READY_SECONDS = 60.0
STOP_SECONDS = 60.0


class Served:
    """The service of a product; ends with the `with` block. Its log is `serve.log` beside the configuration."""

    def __init__(self, product: Product) -> None:
        self._config = product.config
        self.log = product.directory / "serve.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._spawned = 0.0
        self.endpoints: Mapping[str, str] = {}
        self.alone = 0.0
        """Seconds of the last start without those that its threads waited for a core, but at least those that
        they computed: what the start takes where nothing else runs."""

    def spawn(self) -> None:
        """Start it, and do not wait."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tracetaxa.cli", "serve", "--config", str(self._config)],
                stdout=subprocess.PIPE,
                stderr=log,
                env=child_environment(),
            )
        self._spawned = time.monotonic()

    def wait_ready(self) -> float:
        """Seconds from `spawn` to the ready line."""
        process = self.process
        assert process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            left = self._spawned + READY_SECONDS - time.monotonic()
            assert left > 0, f"not ready: {self.log_end()}"
            if select.select([process.stdout], [], [], left)[0]:
                got = process.stdout.read1()
                assert got, f"ended before it was ready: {self.log_end()}"
                line += got
        took = time.monotonic() - self._spawned
        self.alone = self._alone(took)
        ready: dict[str, Any] = json.loads(line)
        assert ready["event"] == "ready"
        self.endpoints = ready["endpoints"]
        return took

    def _alone(self, wall: float) -> float:
        # /proc/PID/task/TID/schedstat: nanoseconds on a core, nanoseconds waiting for one, and a count.
        busy = queued = 0.0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                on_core, waiting, _ = (task / "schedstat").read_text().split()
                busy += int(on_core) / 10**9
                queued += int(waiting) / 10**9
        return min(wall, max(busy, wall - queued))

    def start(self) -> float:
        self.spawn()
        return self.wait_ready()

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; returns the exit code. Safe twice."""
        return self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdout is not None
        process.send_signal(how)
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        return process.returncode

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def status(self) -> dict[str, Any]:
        """`GET /v1/status`."""
        url = f"http://{self.endpoints['api']}/v1/status"
        with urllib.request.urlopen(url, timeout=STOP_SECONDS) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def rss_mib(self, which: str = "VmRSS") -> float:
        """Memory in RAM now, or with "VmHWM" the most since the start or `forget_peak`."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == which:
                return int(value.split()[0]) / 1024
        raise AssertionError(which)

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def log_end(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def __enter__(self) -> Served:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._end(signal.SIGTERM if error[0] is None else signal.SIGKILL)


def free_port() -> int:
    """For a service that must come back where it was."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
