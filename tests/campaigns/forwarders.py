"""Other people's collectors, which stand between senders and tracetaxa: Rotel, and OpenTelemetry's own.

Each is fetched or built once, into pytest's cache, from the package registry of its language. Where that is not
possible, tests that need it are skipped, and say why.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

VERSIONS = {"rotel": "0.0.1a15", "collector": "v0.158.0", "contrib": "v0.157.0"}
BUILD_SECONDS = 900
START_SECONDS = 30
STOP_SECONDS = 30


def rotel(cache: Path) -> Path:
    """The program of the wheel `rotel`. It links the libpython of this Python."""
    program = next(cache.glob("lib/python*/site-packages/rotel/rotel-agent"), None)
    if program is None:
        _run([sys.executable, "-m", "venv", str(cache)])
        pip = [
            str(cache / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        _run([*pip, "--no-deps", "--only-binary", ":all:", f"rotel=={VERSIONS['rotel']}"])
        program = next(cache.glob("lib/python*/site-packages/rotel/rotel-agent"))
    _run([str(program), "version"], environment=_libpython())
    return program


CORE = "go.opentelemetry.io/collector"
CONTRIB = "github.com/open-telemetry/opentelemetry-collector-contrib"


def collector(cache: Path) -> Path:
    """A collector with nothing but OTLP in and out, from its Go modules."""
    modules = {
        "receivers": [f"{CORE}/receiver/otlpreceiver"],
        "exporters": [f"{CORE}/exporter/otlpexporter", f"{CORE}/exporter/otlphttpexporter"],
    }
    return _built(cache, VERSIONS["collector"], modules)


def contrib(cache: Path) -> Path:
    """What the configurations in deploy/collector need of the collector's contrib distribution."""
    modules = {
        "receivers": [f"{CORE}/receiver/otlpreceiver"],
        "processors": [
            f"{CORE}/processor/memorylimiterprocessor",
            f"{CONTRIB}/processor/tailsamplingprocessor",
        ],
        "exporters": [f"{CORE}/exporter/otlpexporter", f"{CONTRIB}/exporter/clickhouseexporter"],
    }
    return _built(cache, VERSIONS["contrib"], modules)


def _built(cache: Path, version: str, modules: Mapping[str, Sequence[str]]) -> Path:
    program = cache / "dist" / "otelcol"
    if program.exists():
        return program
    if shutil.which("go") is None:
        pytest.skip("there is no Go toolchain to build the collector with")
    environment = {"GOBIN": str(cache), "GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
    _run(["go", "install", f"{CORE}/cmd/builder@{version}"], environment=environment)
    recipe = cache / "builder.json"
    dist = {"dist": {"name": "otelcol", "output_path": str(program.parent)}}
    parts = {kind: [{"gomod": f"{name} {version}"} for name in names] for kind, names in modules.items()}
    recipe.write_text(json.dumps(dist | parts))
    _run([str(cache / "builder"), "--config", str(recipe)], environment=environment)
    return program


def rotel_command(program: Path, listen: str, to: str, protocol: str, directory: Path) -> list[str]:
    # A batch that is split loses its resource (a bug of this version): batches are made large enough.
    options = {
        "otlp-grpc-endpoint": listen,
        "otlp-http-endpoint": "127.0.0.1:0",
        "exporter": "otlp",
        "otlp-exporter-endpoint": f"http://{to}",
        "otlp-exporter-protocol": protocol,
        "otlp-exporter-retry-initial-backoff": "200ms",
        "otlp-exporter-retry-max-backoff": "1s",
        "otlp-exporter-retry-max-elapsed-time": "120s",
        "batch-max-size": "1000000",
        "batch-timeout": "100ms",
    }
    return [
        str(program),
        "start",
        *(part for name, value in options.items() for part in (f"--{name}", value)),
    ]


def collector_command(program: Path, listen: str, to: str, protocol: str, directory: Path) -> list[str]:
    exporter, endpoint = ("otlp_grpc", to) if protocol == "grpc" else ("otlp_http", f"http://{to}")
    config = {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": listen}}}},
        "exporters": {
            exporter: {
                "endpoint": endpoint,
                "tls": {"insecure": True},
                "retry_on_failure": {"initial_interval": "200ms", "max_interval": "1s"},
                "sending_queue": {"block_on_overflow": True},
            }
        },
        "service": {
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": [exporter]}},
            "telemetry": {"metrics": {"level": "none"}},
        },
    }
    path = directory / "collector.json"
    path.write_text(json.dumps(config))
    return [str(program), "--config", str(path)]


@contextlib.contextmanager
def running(
    command: Sequence[str], listen: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[None]:
    """The program takes data inside the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | _libpython() | (environment or {})
        )
    try:
        host, _, port = listen.rpartition(":")
        deadline = time.monotonic() + START_SECONDS
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((host, int(port))) == 0:
                    break
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _libpython() -> dict[str, str]:
    known = os.environ.get("LD_LIBRARY_PATH", "")
    return {"LD_LIBRARY_PATH": os.pathsep.join(filter(None, [sysconfig.get_config_var("LIBDIR"), known]))}


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Skips the test when it does not work."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=os.environ | (environment or {}),
            timeout=BUILD_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"{command[0]}: {error}")
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        pytest.skip(f"{' '.join(command[:4])} does not work here: {last}")
