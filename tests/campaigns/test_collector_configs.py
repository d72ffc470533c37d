"""deploy/collector as people would use it: each configuration started as it stands, spans in at one end, and what
comes out at the other. Only addresses are set, by the variables that the files name.

The OpenTelemetry Collector runs the YAML files, Rotel the environments in deploy/collector/rotel.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from campaigns import forwarders
from campaigns.served import Served, free_port
from chats import chat, export, truth
from clickhouse_http import PASSWORD, ClickHouseServer
from otlp import request
from otlp_recorder import OtlpRecorder
from product import Product
from tracetaxa.testing import OracleModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

pytestmark = pytest.mark.slow

CONFIGURATIONS = Path(__file__).parents[2] / "deploy" / "collector"
SECONDS = 90
LEARNED, MORE = 40, 20
"""Chats that the categories are found in, and chats that come after."""
CATEGORY = "tracetaxa.topics.category"


def address() -> str:
    return f"127.0.0.1:{free_port()}"


@dataclass(frozen=True)
class Forwarder:
    """A program that runs the configurations: `start(name, addresses)` by the names of the YAML files' variables."""

    name: str
    program: Path
    directory: Path

    def start(self, configuration: str, addresses: dict[str, str]) -> AbstractContextManager[None]:
        environment = {"OTLP_HTTP_ENDPOINT": address(), **addresses}
        listen = environment["LABELLED_ENDPOINT" if configuration == "labelled" else "OTLP_GRPC_ENDPOINT"]
        if self.name == "rotel":
            command = [str(self.program), "start", f"--pid-file={self.directory / f'{configuration}.pid'}"]
            environment = self._of_rotel(configuration, environment)
        else:
            path = CONFIGURATIONS / f"{configuration}.yaml"
            # Its own metrics would want a fixed port.
            quiet = "--set=service.telemetry.metrics.level=none"
            command = [str(self.program), "--config", str(path), quiet]
        log = self.directory / f"{configuration}.log"
        return forwarders.running(command, listen, log, environment)

    def _of_rotel(self, configuration: str, addresses: dict[str, str]) -> dict[str, str]:
        text = (CONFIGURATIONS / "rotel" / f"{configuration}.env").read_text("utf-8")
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        variables = dict(line.split("=", 1) for line in lines)
        ports = {"4317": "OTLP_GRPC_ENDPOINT", "4318": "OTLP_HTTP_ENDPOINT", "4320": "BACKEND_ENDPOINT"}
        ports |= {"4327": "TRACETAXA_ENDPOINT", "14317": "LABELLED_ENDPOINT", "14318": "OTLP_HTTP_ENDPOINT"}
        ports |= {"8123": "CLICKHOUSE_ENDPOINT"}
        for name, value in variables.items():
            host, _, port = value.rpartition("localhost:")
            if port in ports and "localhost:" in value:
                variables[name] = host + addresses[ports[port]].removeprefix("http://")
        return variables | {k: v for k, v in addresses.items() if k.startswith("ROTEL_")}


@pytest.fixture
def forwarder(request: pytest.FixtureRequest, pytestconfig: pytest.Config, tmp_path: Path) -> Forwarder:
    name = request.param
    version = forwarders.VERSIONS["rotel" if name == "rotel" else "contrib"]
    fetch = forwarders.rotel if name == "rotel" else forwarders.contrib
    cache = pytestconfig.cache.mkdir(f"{'rotel' if name == 'rotel' else 'contrib'}-{version}")
    return Forwarder(name, fetch(cache), tmp_path)


@pytest.fixture
def sink() -> Iterator[OtlpRecorder]:
    with OtlpRecorder() as recorder:
        yield recorder


def spans_in(sink: OtlpRecorder) -> list[Span]:
    return [
        span
        for message in list(sink.requests)
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def text_of(span: Span, key: str) -> str:
    return next((pair.value.string_value for pair in span.attributes if pair.key == key), "")


def wait_for(found: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + SECONDS
    while not wanted(now := found()):
        assert time.monotonic() < deadline, f"still {str(now)[:2000]}"
        time.sleep(0.1)
    return now


def send(endpoint: str, numbers: range) -> None:
    export(endpoint, request(*(span for number in numbers for span in chat(number))))


def ids(numbers: range) -> set[str]:
    return {number.to_bytes(16).hex() for number in numbers}


def assembled(product: Product) -> set[str]:
    return {row["TraceId"] for row in product.rows("SELECT TraceId FROM traces FINAL")}


@pytest.mark.parametrize("forwarder", ["collector"], indirect=True)  # Rotel has one exporter for traces
def test_fan_out(product: Product, forwarder: Forwarder, sink: OtlpRecorder) -> None:
    product.configure()
    addresses = {"OTLP_GRPC_ENDPOINT": address(), "BACKEND_ENDPOINT": sink.endpoint}
    numbers = range(1, MORE + 1)
    with Served(product) as service:
        addresses["TRACETAXA_ENDPOINT"] = service.endpoints["grpc"]
        with forwarder.start("fan-out", addresses):
            send(addresses["OTLP_GRPC_ENDPOINT"], numbers)
            wait_for(lambda: assembled(product), lambda found: found == ids(numbers))
            wait_for(lambda: len(spans_in(sink)), lambda count: count == 2 * MORE)
        assert service.stop() == 0
    assert {span.trace_id.hex() for span in spans_in(sink)} == ids(numbers)
    assert not any(pair.key.startswith("tracetaxa.") for span in spans_in(sink) for pair in span.attributes)


def in_the_loop(product: Product, to: str, model: OracleModel) -> None:
    """loop.tracetaxa.yaml, with addresses of this test, and times that a test can wait for."""
    settings = yaml.safe_load((CONFIGURATIONS / "loop.tracetaxa.yaml").read_text("utf-8"))
    settings["store"]["dsn"] = f"chdb://{product.directory / 'data'}"
    settings["exporter"]["otlp"]["endpoint"] = f"http://{to}"
    settings["receiver"] = {"linger_ms": 5}
    settings["llm"] = {"engine": "openai", "base_url": model.base_url}
    settings["scheduler"] = {"enabled": False}
    product.configure(**settings)


@pytest.mark.parametrize(
    ("forwarder", "behind"),
    [("rotel", "labelled"), ("collector", "labelled"), ("collector", "tail-sampling")],
    indirect=["forwarder"],
)
def test_spans_go_round_and_come_out_labelled(
    product: Product, forwarder: Forwarder, sink: OtlpRecorder, behind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector runs both ends in one process; with Rotel, and where sampling is behind, there are two."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    labelled = address()
    addresses = {
        "OTLP_GRPC_ENDPOINT": address(),
        "LABELLED_ENDPOINT": labelled,
        "BACKEND_ENDPOINT": sink.endpoint,
        "KEEP_CATEGORY": "refunds",
    }
    learned, more = range(1, LEARNED + 1), range(LEARNED + 1, LEARNED + MORE + 1)
    with OracleModel(truth) as model:
        to = labelled
        second = None
        if forwarder.name == "rotel" or behind == "tail-sampling":
            second = forwarder.start(behind, addresses | {"OTLP_GRPC_ENDPOINT": labelled})
            second.__enter__()
        try:
            in_the_loop(product, to, model)
            with Served(product) as service:
                addresses["TRACETAXA_ENDPOINT"] = service.endpoints["grpc"]
                if second is not None and forwarder.name == "collector":
                    addresses["LABELLED_ENDPOINT"] = address()  # of its own, and unused
                with forwarder.start("loop", addresses):
                    entrance = addresses["OTLP_GRPC_ENDPOINT"]
                    send(entrance, learned)
                    wait_for(lambda: assembled(product), lambda found: found == ids(learned))
                    done = product.json("analyze", "topics", "--window", "1h", "--format", "json")
                    assert done["labelled"] == LEARNED
                    wait_for(
                        lambda: product.rows("SELECT count() AS n FROM classifiers")[0]["n"], lambda n: n > 0
                    )
                    before = len(spans_in(sink))
                    send(entrance, more)
                    check_labelled(sink, more, sampled=behind == "tail-sampling")
                    assert len(spans_in(sink)) > before
                assert service.stop() == 0
        finally:
            if second is not None:
                second.__exit__(None, None, None)


def check_labelled(sink: OtlpRecorder, numbers: range, *, sampled: bool) -> None:
    """Each chat once, its root with its category; behind tail sampling those of the category that is kept."""
    wanted = {n.to_bytes(16).hex(): truth_of(n) for n in numbers}
    kept = {trace for trace, category in wanted.items() if category == "Refunds"} if sampled else set(wanted)

    def roots() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for span in spans_in(sink):
            if span.trace_id.hex() in wanted and span.name == "invoke_agent":
                found.setdefault(span.trace_id.hex(), []).append(text_of(span, CATEGORY))
        return found

    found = wait_for(roots, lambda now: set(now) >= kept)
    assert all(categories == [wanted[trace]] for trace, categories in found.items()), found


def truth_of(number: int) -> str:
    _, call = chat(number)
    return truth(text_of(call, "gen_ai.input.messages"))[0]


@pytest.mark.parametrize("forwarder", ["rotel"], indirect=True)
def test_attached(tmp_path: Path, forwarder: Forwarder) -> None:
    """Rotel fills the exporter's tables. The collector's own exporter asks for a protocol version that the stand-in for
    a server does not speak: what it makes of the tables is tests/collector.py's."""
    numbers = range(1, MORE + 1)
    with ClickHouseServer(tmp_path / "clickhouse") as server:
        addresses = {
            "OTLP_GRPC_ENDPOINT": address(),
            "CLICKHOUSE_ENDPOINT": f"http://127.0.0.1:{server.port}",
            "ROTEL_CLICKHOUSE_EXPORTER_PASSWORD": PASSWORD,
            # Nor does the stand-in know blocks that ClickHouse compressed itself.
            "ROTEL_CLICKHOUSE_EXPORTER_COMPRESSION": "none",
        }
        (tmp_path / "product").mkdir()
        product = Product(tmp_path / "product").configure(store={"dsn": server.dsn()})
        assert product.run("migrate").returncode == 0
        settings = yaml.safe_load((CONFIGURATIONS / "attach.tracetaxa.yaml").read_text("utf-8"))
        settings |= {"store": {"dsn": server.dsn()}, "scheduler": {"enabled": False}}
        product.configure(**settings)
        with forwarder.start("attach", addresses), Served(product) as service:
            send(addresses["OTLP_GRPC_ENDPOINT"], numbers)
            wait_for(lambda: assembled(product), lambda found: found == ids(numbers))
            assert service.stop() == 0


@pytest.mark.parametrize("forwarder", ["collector"], indirect=True)
def test_the_collector_takes_them_all(forwarder: Forwarder) -> None:
    files = [path for path in CONFIGURATIONS.glob("*.yaml") if "receivers:" in path.read_text("utf-8")]
    assert len(files) >= 4
    for path in files:
        if path.name == "sidecar.yaml":
            continue
        done = subprocess.run(
            [str(forwarder.program), "validate", "--config", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{path.name}: {done.stderr}"
