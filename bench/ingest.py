"""What it costs to store spans: tracetaxa, Rotel before ClickHouse, and ClickHouse alone, in one go.

All store the same spans in the same tables, with the same indexes and views, through the same embedded
engine, and with the same rows in an insert; rounds are interleaved and figures are medians. Each contestant
runs in processes of its own, and CPU is what the kernel counted for them (Linux's /proc) until everything is
stored and merges are over, which each insert causes sooner or later. How many there were by then is up to the
engine's mood: what they took is told, and ratios are given with and without them.

- tracetaxa: `tracetaxa serve`, which answers after the commit. Assembly, which the others have none of, is
  put off.
- rotel: OTLP → Rotel → ClickHouse's HTTP interface (tests/clickhouse_http.py, one process with the engine).
  The interface's own CPU, that of its main thread, is shown apart and left out. Rotel answers before
  anything is stored.
- floor: `INSERT … FORMAT Native` of blocks that were built before, by the engine itself, with its own
  settings and with ours ("own").

Rotel is optional and no dependency: `pip install rotel`, here or elsewhere with `--rotel PATH` of its binary
`rotel-agent`. Without it that part is skipped.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from bench import ingest_spans
from bench.ingest_floor import merge_seconds, settle
from tracetaxa.demo.child import Service
from tracetaxa.store.owner import find_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
HTTP_ENDPOINT = Path(__file__).parents[1] / "tests" / "clickhouse_http.py"
PASSWORD = "s3cret-pass"
SPANS = 500
"""A request."""
CHANNELS = 4
STORED_SECONDS = 120.0
PACED_SHARE = 0.6


@dataclass(frozen=True)
class Load:
    """What is sent: `count` requests of `spans` spans, by `senders` senders that wait for each answer."""

    requests: Sequence[bytes]
    warming: Sequence[bytes]
    """One insert's worth, sent before and not counted."""
    spans: int
    senders: int
    rows_per_insert: int

    @property
    def total(self) -> int:
        return len(self.requests) * self.spans


@dataclass
class Target:
    """Something that takes spans over gRPC and says how many are stored."""

    endpoint: str
    pids: tuple[int, ...]
    stored: Callable[[], int]
    inserts: Callable[[], int]
    apart: Callable[[], float] = lambda: 0.0
    """CPU seconds of what is left out."""

    def cpu_seconds(self) -> float:
        return sum(_cpu_seconds(pid) for pid in self.pids) - self.apart()

    def merge_seconds(self) -> float:
        return sum(map(merge_seconds, self.pids))

    def rss_mib(self, peak: bool = True) -> float:
        return sum(_rss_mib(pid, peak=peak) for pid in self.pids)


def bench(
    rounds: int,
    spans: int,
    senders: int,
    rows_per_insert: int,
    rotel: Path | None,
    paced_seconds: float,
    say: Callable[[str], None],
) -> dict[str, Any]:
    load = make_load(spans // SPANS, senders, rows_per_insert)
    size = sum(map(len, load.requests)) / load.total
    agent = rotel or find_rotel()
    skipped = "" if agent else "rotel is not installed: pip install rotel, or --rotel PATH"
    results: dict[str, list[dict[str, float]]] = {}
    for number in range(rounds):
        for name in ("tracetaxa", "rotel", "floor"):
            if name == "rotel" and skipped:
                continue
            with tempfile.TemporaryDirectory(prefix="bench-ingest-") as directory:
                try:
                    found = _round(name, Path(directory), load, agent, paced_seconds)
                except RotelUnavailable as error:
                    skipped = str(error)
                    continue
            results.setdefault(name, []).append(found)
            say(f"round {number + 1} of {rounds}, {name}: {_short(found)}")
    medians = {
        name: {key: statistics.median(found[key] for found in all_) for key in all_[0]}
        for name, all_ in results.items()
    }
    return {
        "spans": load.total,
        "bytes_per_span": size,
        "rounds": rounds,
        "senders": senders,
        "skipped": skipped or None,
        "medians": medians,
        "ratios": _ratios(results),
        "all": results,
    }


def make_load(requests: int, senders: int, rows_per_insert: int) -> Load:
    warming = rows_per_insert // SPANS
    made = ingest_spans.requests(warming + requests, SPANS)
    return Load(made[warming:], made[:warming], SPANS, senders, rows_per_insert)


class RotelUnavailable(Exception):
    """It can't run here."""


def _round(
    name: str, directory: Path, load: Load, agent: Path | None, paced_seconds: float
) -> dict[str, float]:
    if name == "floor":
        return _floor(directory, load)
    with _tracetaxa(directory, load) if name == "tracetaxa" else _rotel(directory, load, agent) as target:
        return _measure(target, load, paced_seconds)


def _measure(target: Target, load: Load, paced_seconds: float) -> dict[str, float]:
    asyncio.run(send(target.endpoint, load.warming, load.senders))
    warm = len(load.warming) * load.spans
    _wait_stored(target, warm)
    inserts, apart, merges = target.inserts(), target.apart(), target.merge_seconds()
    cpu, began = target.cpu_seconds(), time.perf_counter()
    latencies = asyncio.run(send(target.endpoint, load.requests, load.senders))
    acknowledged = time.perf_counter() - began
    _wait_stored(target, warm + load.total)
    stored = time.perf_counter() - began
    settle(target.cpu_seconds)
    found = {
        "cpu_us_per_span": (target.cpu_seconds() - cpu) / load.total * 1e6,
        "merges_us_per_span": (target.merge_seconds() - merges) / load.total * 1e6,
        "apart_us_per_span": (target.apart() - apart) / load.total * 1e6,
        "stored_per_second": load.total / stored,
        "acknowledged_per_second": load.total / acknowledged,
        "rows_per_insert": load.total / max(1, target.inserts() - inserts),
        **_percentiles("top", latencies),
    }
    if paced_seconds:
        rate = PACED_SHARE * load.total / stored / load.spans
        paced = list(islice(cycle(load.requests), int(rate * paced_seconds)))
        found |= _percentiles("paced", asyncio.run(send(target.endpoint, paced, load.senders, rate)))
    return found | {"peak_rss_mib": target.rss_mib()}


async def send(
    endpoint: str, requests: Sequence[bytes], senders: int, rate: float | None = None
) -> list[float]:
    """Seconds from when each request was due until its answer.

    At `rate` requests a second, or as fast as `senders` get answers.
    """
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    channels = [grpc.aio.insecure_channel(endpoint, options=options) for _ in range(CHANNELS)]
    calls = [channel.unary_unary(EXPORT) for channel in channels]
    waiting = iter(enumerate(requests))
    latencies: list[float] = []
    began = time.perf_counter()

    async def one(number: int, request: bytes, due: float) -> None:
        await calls[number % CHANNELS](request, wait_for_ready=True, timeout=STORED_SECONDS)
        latencies.append(time.perf_counter() - due)

    async def sender() -> None:
        for number, request in waiting:
            await one(number, request, time.perf_counter())

    if rate is None:
        await asyncio.gather(*(sender() for _ in range(senders)))
    else:
        async with asyncio.TaskGroup() as group:
            for number, request in waiting:
                due = began + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(one(number, request, due))
    await asyncio.gather(*(channel.close() for channel in channels))
    return latencies


def _wait_stored(target: Target, count: int) -> None:
    deadline = time.monotonic() + STORED_SECONDS
    while (found := target.stored()) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"after {STORED_SECONDS:g} seconds {found} of {count} spans are stored")
        time.sleep(0.02)


# ---------------------------------------------------------------------------------------------- contestants


@contextmanager
def _tracetaxa(directory: Path, load: Load) -> Iterator[Target]:
    any_port = {"endpoint": "127.0.0.1:0"}
    config = {
        "store": {"dsn": f"chdb://{directory / 'data'}"},
        "receiver": {"grpc": any_port, "http": any_port, "max_batch_spans": load.rows_per_insert},
        "assembly": {
            "idle_seconds": 36_000,
            "orphan_idle_seconds": 36_000,
            "max_trace_seconds": 86_400,
            "tick_seconds": 60,
        },
        "api": any_port,
        "sql": any_port,
        "health": any_port,
        "metrics": any_port,
    }
    path = directory / "tracetaxa.yaml"
    path.write_text(json.dumps(config), "utf-8")
    with Service(path, directory / "serve.log") as service:
        url = f"http://{service.endpoints['sql']}/"
        owner = find_owner(directory / "data")
        assert owner is not None
        yield Target(
            service.endpoints["grpc"],
            (owner.pid,),
            lambda: _number(url, "SELECT count() FROM otel.otel_traces"),
            lambda: _number(url, "SELECT uniqExact(SeenAt) FROM otel.trace_activity"),
        )


@contextmanager
def _rotel(directory: Path, load: Load, agent: Path | None) -> Iterator[Target]:
    assert agent is not None
    _create_tables(directory / "data")
    port = _free_port()
    with _child([sys.executable, str(HTTP_ENDPOINT), str(directory / "data"), "0"]) as endpoint:
        assert endpoint.stdout is not None
        url = f"http://127.0.0.1:{int(endpoint.stdout.readline())}/"
        options = {
            "otlp-grpc-endpoint": f"127.0.0.1:{port}",
            "otlp-http-endpoint": f"127.0.0.1:{_free_port()}",
            "otlp-grpc-max-recv-msg-size-mib": 64,
            "pid-file": directory / "rotel.pid",
            "exporter": "clickhouse",
            "clickhouse-exporter-endpoint": url,
            "clickhouse-exporter-user": "default",
            "clickhouse-exporter-password": PASSWORD,
            "clickhouse-exporter-compression": "none",
            "clickhouse-exporter-async-insert": "false",
            "batch-max-size": load.rows_per_insert,
        }
        command = [str(agent), "start", *(f"--{name}={value}" for name, value in options.items())]
        log = directory / "rotel.log"
        with log.open("wb") as written, _child(command, stdout=written, stderr=subprocess.STDOUT) as rotel:
            deadline = time.monotonic() + 10
            while not _listens(port):
                if rotel.poll() is not None or time.monotonic() > deadline:
                    said = log.read_text(errors="replace")[-300:].strip()
                    raise RotelUnavailable(f"rotel does not start: {said}")
                time.sleep(0.05)
            yield Target(
                f"127.0.0.1:{port}",
                (rotel.pid, endpoint.pid),
                lambda: _number(url, "SELECT count() FROM otel.otel_traces"),
                lambda: _number(url, "SELECT uniqExact(SeenAt) FROM otel.trace_activity"),
                lambda: _cpu_seconds(endpoint.pid, main_thread=True),
            )


def _floor(directory: Path, load: Load) -> dict[str, float]:
    """The engine alone, in a process of its own."""
    path = directory / "requests"
    with path.open("wb") as file:
        for request in load.requests:
            file.write(len(request).to_bytes(4, "little") + request)
    requests = load.rows_per_insert // load.spans
    command = [sys.executable, "-m", "bench.ingest_floor", str(directory), str(requests)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=STORED_SECONDS)
    if done.returncode:
        raise RuntimeError(f"the engine's own insert failed: {done.stderr.strip()[-500:]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _create_tables(path: Path) -> None:
    """In a process of its own: one process can have one embedded database in its life."""
    code = "import sys; from bench.ingest_floor import open_store; open_store(sys.argv[1]).close()"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, timeout=STORED_SECONDS)


def find_rotel() -> Path | None:
    """Its binary: inside the package of this Python, or on the path."""
    package = importlib.util.find_spec("rotel")
    if package is not None and package.origin is not None:
        return Path(package.origin).parent / "rotel-agent"
    found = shutil.which("rotel-agent")
    return Path(found) if found else None


# ---------------------------------------------------------------------------------------------------- soak


def soak(seconds: float, senders: int, rows_per_insert: int, say: Callable[[str], None]) -> dict[str, Any]:
    """tracetaxa alone at 60 % of its top rate for so long: memory over time, and how long answers take."""
    load = make_load(200, senders, rows_per_insert)
    with (
        tempfile.TemporaryDirectory(prefix="bench-ingest-") as directory,
        _tracetaxa(Path(directory), load) as target,
    ):
        top = _measure(target, load, 0)["stored_per_second"]
        rate = PACED_SHARE * top / load.spans
        samples, latencies = asyncio.run(_soak(target, load, rate, seconds, say))
    fifth = max(1, len(samples) // 5)
    early, late = statistics.median(samples[fifth : 2 * fifth]), statistics.median(samples[-fifth:])
    return {
        "seconds": seconds,
        "spans_per_second": rate * load.spans,
        "rss_mib": {"second fifth": early, "last fifth": late, "peak": max(samples)},
        "rss_growth": late / early - 1,
        **_percentiles("paced", latencies),
    }


async def _soak(
    target: Target, load: Load, rate: float, seconds: float, say: Callable[[str], None]
) -> tuple[list[float], list[float]]:
    samples: list[float] = []
    latencies: list[float] = []
    chunk = max(1.0, seconds / 60)
    waiting = cycle(load.requests)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        requests = [next(waiting) for _ in range(max(1, int(rate * chunk)))]
        latencies += await send(target.endpoint, requests, load.senders, rate)
        samples.append(target.rss_mib(peak=False))
        say(f"{end - time.monotonic():.0f} s left, RSS {samples[-1]:.0f} MiB")
    return samples, latencies


# -------------------------------------------------------------------------------------------------- figures


def report(result: dict[str, Any]) -> str:
    title = (
        f"{result['spans']} spans of {result['bytes_per_span']:.0f} bytes, {result['senders']} senders, "
        f"medians of {result['rounds']} rounds"
    )
    lines = [
        title,
        "",
        f"{'':28}" + "".join(f"{name:>12}" for name in result["medians"]),
    ]
    for key in dict.fromkeys(key for found in result["medians"].values() for key in found):
        cells = (found.get(key) for found in result["medians"].values())
        lines.append(f"{key:28}" + "".join(f"{'' if cell is None else f'{cell:.4g}':>12}" for cell in cells))
    lines += ["", *(f"{key:58}{value:8.2f}" for key, value in result["ratios"].items())]
    if result["skipped"]:
        lines += ["", f"skipped: {result['skipped']}"]
    return "\n".join(lines)


def report_soak(result: dict[str, Any]) -> str:
    rss = result["rss_mib"]
    return (
        f"{result['seconds']:g} s at {result['spans_per_second']:.0f} spans/s: RSS "
        f"{rss['second fifth']:.0f} → {rss['last fifth']:.0f} MiB ({result['rss_growth']:+.1%}), "
        f"peak {rss['peak']:.0f} MiB; "
        f"answers p50 {result['paced_p50_seconds']:.3f} s, p99 {result['paced_p99_seconds']:.3f} s"
    )


def _ratios(results: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Medians of the ratios within each round: what else the machine does changes from round to round."""
    cpu, merges, stored = "cpu_us_per_span", "merges_us_per_span", "stored_per_second"
    ratios = {}
    for other, title in (("rotel", "(Rotel + engine)"), ("floor", "floor")):
        pairs = list(zip(results["tracetaxa"], results.get(other, ()), strict=False))
        if not pairs:
            continue
        ratios[f"CPU a span: tracetaxa / {title}"] = statistics.median(a[cpu] / b[cpu] for a, b in pairs)
        ratios[f"CPU a span without merges: tracetaxa / {title}"] = statistics.median(
            (a[cpu] - a[merges]) / (b[cpu] - b[merges]) for a, b in pairs
        )
        if other == "rotel":
            ratios["stored spans/s: tracetaxa / Rotel"] = statistics.median(
                a[stored] / b[stored] for a, b in pairs
            )
    return ratios


def _percentiles(name: str, latencies: Sequence[float]) -> dict[str, float]:
    ordered = sorted(latencies)
    return {
        f"{name}_p{percent}_seconds": ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
        for percent in (50, 99)
    }


def _short(found: dict[str, float]) -> str:
    return f"{found['cpu_us_per_span']:.1f} µs CPU a span, {found['stored_per_second']:.0f} spans/s"


def _number(url: str, sql: str) -> int:
    query = urllib.parse.urlencode({"query": f"{sql} FORMAT TabSeparated"})
    request = urllib.request.Request(f"{url}?{query}")
    token = f"default:{PASSWORD}".encode()
    request.add_header("Authorization", "Basic " + b64encode(token).decode())
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.read())


def _cpu_seconds(pid: int, *, main_thread: bool = False) -> float:
    """User and system time of a process, with children that it has waited for; or of its main thread."""
    path = Path(f"/proc/{pid}/task/{pid}/stat" if main_thread else f"/proc/{pid}/stat")
    fields = path.read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11 : 13 if main_thread else 15])) / TICKS


def _rss_mib(pid: int, *, peak: bool) -> float:
    name = "VmHWM:" if peak else "VmRSS:"
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


@contextmanager
def _child(command: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A child process that ends with the block."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, env=os.environ | {"TZ": "UTC"}, **pipes | options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
