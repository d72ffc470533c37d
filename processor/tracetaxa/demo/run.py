"""`tracetaxa demo`: traffic in over OTLP, a report out, and how well the report matches what was planted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from tracetaxa.demo.child import (
    CommandFailed,
    Service,
    rows,
    run_command,
    wait_until_assembled,
)
from tracetaxa.demo.emit import Sent, send
from tracetaxa.demo.memory import MIB, PeakMemory
from tracetaxa.demo.score import best_matches, confusion_tables, score
from tracetaxa.demo.shop import shop_traffic
from tracetaxa.progress import shown_progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tracetaxa.demo.traffic import Traffic

ANALYSIS = "topics"
WIDTH = 80
ASSEMBLY_SECONDS = 300.0
PARTIAL = 3
_WINDOW_MARGIN_HOURS = 4

_NEXT_STEPS = """\
On your own traces:
  tracetaxa serve                     takes OTLP/gRPC at 127.0.0.1:4317
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 your-instrumented-app
  tracetaxa analyze topics            the last 24 hours, labelled and reported
With a model: set OPENAI_API_KEY, or OPENAI_BASE_URL for any server that speaks
the same API, and the engine `auto` takes it; --engine local never does."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a demo keeps its things."""

    directory: Path

    @property
    def config(self) -> Path:
        return self.directory / "demo.yaml"

    @property
    def log(self) -> Path:
        return self.directory / "serve.log"

    @property
    def html(self) -> Path:
        return self.directory / "report.html"

    def prepare(self) -> None:
        """Any free ports and short waits, so that it runs beside anything and does not take long."""
        self.directory.mkdir(parents=True, exist_ok=True)
        any_port = {"endpoint": "127.0.0.1:0"}
        config = {
            "store": {"dsn": f"chdb://{self.directory / 'data'}"},
            "receiver": {"grpc": any_port, "http": any_port},
            "assembly": {"idle_seconds": 3, "tick_seconds": 0.5},
            "api": any_port,
            "sql": any_port,
            "health": any_port,
            "metrics": any_port,
        }
        # JSON is YAML, and quotes whatever the path holds.
        lines = [f"{section}: {json.dumps(values)}\n" for section, values in config.items()]
        self.config.write_text("".join(lines), "utf-8")


@dataclass(frozen=True, slots=True)
class Counts:
    """What a database holds, duplicates of retried requests counted once."""

    spans: int
    rows: int
    spans_in_view: int
    rows_in_view: int
    traces: int

    @classmethod
    def read(cls, config: Path) -> Counts:
        counted = "SELECT uniqExact(TraceId, SpanId) AS spans, count() AS all FROM"
        table = rows(config, f"{counted} otel_traces")[0]
        view = rows(config, f"{counted} otel_traces_labelled")[0]
        traces = rows(config, "SELECT count() AS n FROM traces FINAL")[0]["n"]
        return cls(table["spans"], table["all"], view["spans"], view["all"], traces)


def run_demo(
    directory: Path | None,
    traces: int = 500,
    seed: int = 0,
    engine: str | None = None,
    traffic: Traffic | None = None,
) -> int:
    """Runs the whole demo and returns the exit code: 0, 1 when something does not add up, 3 when the analysis
    is partial, 130 when interrupted.

    Without a directory, everything goes into a new temporary one that is kept. `traffic` replaces the
    simulated shop. Raises DemoFailed and SendFailed when a part does not work at all.
    """
    place = Place((directory or Path(tempfile.mkdtemp(prefix="tracetaxa-demo-"))).absolute())
    planned = traffic or shop_traffic(traces, seed)
    console = Console(width=min(WIDTH, Console().width), highlight=False)
    memory = PeakMemory()
    started = time.monotonic()
    try:
        with _termination_interrupts():
            place.prepare()
            _say(f"everything is kept in {place.directory}")
            with Service(place.config, place.log) as service:
                code = _demonstrate(place, service, planned, traces, seed, engine, console)
    except KeyboardInterrupt:
        _say(f"interrupted; the service has stopped, and what it took is in {place.directory}")
        return 130
    finally:
        peak = memory.stop()
    console.print(f"{time.monotonic() - started:.0f} s, peak memory {peak / MIB:,.0f} MB with all processes")
    command = Path(sys.executable).with_name("tracetaxa")
    program = str(command) if command.exists() else f"{sys.executable} -m tracetaxa.cli"
    console.print(f"Report page  {place.html}\nDatabase     {place.directory / 'data'}\n", soft_wrap=True)
    console.print("Look around with the commands above, for example:", markup=False)
    console.print(f"  {program} report --config {place.config}\n", soft_wrap=True, markup=False)
    console.print(_NEXT_STEPS, soft_wrap=True, markup=False)
    return code


def _demonstrate(
    place: Place,
    service: Service,
    traffic: Traffic,
    expected: int,
    seed: int,
    engine: str | None,
    console: Console,
) -> int:
    before = Counts.read(place.config)
    _say(f"the service is ready at {service.endpoints['grpc']}; sending traces of {traffic.title}")
    with shown_progress("demo") as progress:
        sent = send(
            traffic,
            service.endpoints["grpc"],
            end_ns=time.time_ns(),
            progress=progress,
            expected_traces=expected,
        )
    sent_traces = sent.agent_traces + sent.other_traces
    _say(
        f"{sent.spans:,} spans of {sent_traces:,} traces are acknowledged in {sent.requests} requests, "
        f"{sent.seconds:.1f} s; waiting until the traces are assembled"
    )
    if sent.other_traces:
        _say(f"{sent.other_traces} of the traces are plain web requests: kept, but left out of the analysis")
    wait_until_assembled(service, before.traces + sent_traces, seconds=ASSEMBLY_SECONDS)
    window = f"{traffic.hours + _WINDOW_MARGIN_HOURS}h"
    arguments = ["analyze", ANALYSIS, "--window", window, "--seed", str(seed), "--format", "json"]
    partial = False
    try:
        run = json.loads(run_command(place.config, *arguments, *(["--engine", engine] if engine else [])))
    except CommandFailed as failed:
        if failed.status != PARTIAL:
            raise
        partial = True
        run = json.loads(failed.output)
    # Its own process, so that it writes as it does for anybody.
    console.file.write(run_command(place.config, "report", run["run_id"]))
    console.file.write("\n")
    run_command(place.config, "report", run["run_id"], "--format", "html", "--output", str(place.html))
    _print_score(sent, run, traffic.truth_name, place.config, console)
    adds_up = _print_counts(sent, before, Counts.read(place.config), console)
    if not adds_up:
        return 1
    return PARTIAL if partial else 0


def _print_score(sent: Sent, run: Mapping[str, Any], truth_name: str, config: Path, console: Console) -> None:
    """How well the labels of this run match; of a run that sampled, on the traces it labelled."""
    # A run id is made by the service, of letters, digits and dashes.
    labels = f"SELECT TraceId, Category, Subcategory FROM trace_labels WHERE RunId = '{run['run_id']}'"  # noqa: S608
    found = {row["TraceId"]: (row["Category"], row["Subcategory"]) for row in rows(config, labels)}
    truth = sent.truth
    if run["sampled"] < run["selected"]:
        truth = {trace_id: planted for trace_id, planted in truth.items() if trace_id in found}
    result = score(truth, found)
    console.print(
        f"{truth_name.capitalize()} against discovered, on {result.traces:,} traces "
        f"({result.labelled:,} labelled):\n"
        f"  adjusted mutual information  kinds {_figure(result.top)}  sub-behaviours {_figure(result.sub)}\n"
        "  (1 is a perfect match, 0 is chance)\n\n"
        f"Traces by {truth_name} kind and discovered category"
    )
    for table in confusion_tables(result.confusion, truth_name=truth_name):
        console.print(table)
        console.print()
    console.print(best_matches(result.sub_confusion, truth_name=truth_name))
    console.print()


def _print_counts(sent: Sent, before: Counts, after: Counts, console: Console) -> bool:
    """Prints what went in beside what came out; returns whether it is the same."""
    sent_traces = sent.agent_traces + sent.other_traces
    compared = [
        ("spans in otel_traces", sent.spans, after.spans - before.spans),
        ("spans in otel_traces_labelled", sent.spans, after.spans_in_view - before.spans_in_view),
        ("rows that the view adds", 0, after.rows_in_view - after.rows),
        ("traces in traces", sent_traces, after.traces - before.traces),
    ]
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    for column in ("Sent against stored", "sent", "stored", ""):
        table.add_column(column, justify="left" if column == "Sent against stored" else "right")
    for name, expected, actual in compared:
        table.add_row(name, f"{expected:,}", f"{actual:,}", "same" if expected == actual else "DIFFERENT")
    console.print(table)
    console.print()
    return all(expected == actual for _, expected, actual in compared)


def _figure(value: float | None) -> str:
    return "unknown (install tracetaxa[local])" if value is None else f"{value:.2f}"


def _say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def _termination_interrupts() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does, so that the service it started is stopped too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
