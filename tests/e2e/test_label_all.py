"""`label_all`, as its users meet it: a run on a sample, then a label on everything else, and on all that comes."""

from __future__ import annotations

import json
import os
import random
import signal
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from chats import SECONDS, export, recently
from clickhouse_http import ClickHouseServer
from http_get import get
from otlp import CHAT, request, span
from product import Product, Served, served
from tracetaxa.demo.child import wait_until_assembled
from tracetaxa.testing import Oracle, ScriptedModel
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from tracetaxa.demo.child import Service

KINDS = {
    "refund": ("Refunds", "Late refund", "money back paid bank card return credited"),
    "parcel": ("Deliveries", "Lost parcel", "courier street doorstep tracking depot missing"),
    "password": ("Accounts", "Forgotten password", "login reset email locked link sign"),
}
BEFORE, SAMPLE = 180, 70
"""Traces that there are when the run is made, and how many it reads."""
ASKED = 12
"""Traces that the model may be asked about in an hour."""
SHARES = {"Refunds": 1 / 3, "Deliveries": 1 / 3, "Accounts": 1 / 3}


def truth(digest: str) -> tuple[str, str] | None:
    return next((kind[:2] for word, kind in KINDS.items() if word in digest), None)


def kind_of(number: int) -> str:
    return list(KINDS)[number % 3]


def text_of(number: int) -> str:
    word = kind_of(number)
    words = KINDS[word][2].split()
    random.Random(number).shuffle(words)
    return f"Hello, my {words[0]} and the {words[1]}: a {word}, {words[2]} {words[3]}"


def chat(number: int, text: str) -> tuple[Span, Span]:
    said = json.dumps([{"role": "user", "parts": [{"type": "text", "content": text}]}])
    root, call, start = number * 10, number * 10 + 1, recently()
    return (
        span(number, root, name="invoke_agent", start=start),
        span(number, call, root, start=start, attributes=CHAT | {"gen_ai.input.messages": said}),
    )


def send(service: Service, numbers: range, text: Any = text_of) -> None:
    export(service.endpoints["grpc"], request(*(one for i in numbers for one in chat(i, text(i)))))


def analysis(**changes: Any) -> dict[str, Any]:
    return {"name": "topics", "label_all": True, "sample": {"size": SAMPLE}, "audit": {"size": 0}} | changes


@dataclass(frozen=True)
class Labelled(Served):
    """A service whose analysis ran once over BEFORE traces, and labelled them all."""

    model: ScriptedModel
    run: dict[str, Any]

    def labels(self, where: str = "true") -> list[dict[str, Any]]:
        return self.product.rows(
            "SELECT Category, toString(Labeller) AS Labeller, count() AS n FROM trace_labels_current "
            f"WHERE Analysis = 'topics' AND {where} GROUP BY ALL ORDER BY Category, Labeller"
        )


def in_kinds(found: dict[tuple[str, str], int]) -> dict[str, int]:
    return {name: sum(n for (category, _), n in found.items() if category == name) for name in SHARES}


def post(endpoint: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    url, headers = f"http://{endpoint}/v1/classifiers", {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def all_labelled(service: Service, traces: int) -> None:
    wait_until_assembled(service, traces, seconds=SECONDS)
    wait_until(lambda: service.status()["unlabelled"] == 0, lambda: service.status())


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labelled]:
    with ScriptedModel(Oracle(truth)) as model, pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_BASE_URL", model.base_url)
        environment.setenv("OPENAI_API_KEY", "none")
        product = Product(tmp_path_factory.mktemp("labelled")).configure(
            analyses=[analysis()], label={"learn_seconds": 0.2, "max_asked_per_hour": ASKED}
        )
        with served(product) as running:
            send(running.service, range(1, BEFORE + 1))
            wait_until_assembled(running.service, BEFORE, seconds=SECONDS)
            run = product.json("analyze", "topics", "--format", "json")
            all_labelled(running.service, BEFORE)
            yield Labelled(product, running.service, model, run)


def test_the_rest_of_the_window_is_labelled(labelled: Labelled) -> None:
    found = {
        (row["Category"], row["Labeller"]): row["n"]
        for row in labelled.labels(f"TraceId < '{BEFORE + 1:032x}'")
    }
    assert sum(found.values()) == BEFORE
    assert sum(n for (_, labeller), n in found.items() if labeller == "llm") == SAMPLE
    assert all(count >= 0.75 * BEFORE * SHARES[name] for name, count in in_kinds(found).items())
    wrong = labelled.product.rows(
        "SELECT Category, Input FROM trace_labels_current JOIN traces USING (TraceId) "
        f"WHERE Labeller = 'distilled' AND TraceId < '{BEFORE + 1:032x}'"
    )
    assert not [row for row in wrong if row["Category"] not in ("Other", truth(row["Input"])[0])]


def test_a_label_can_be_followed(labelled: Labelled) -> None:
    (row,) = labelled.product.rows(
        "SELECT RunId, TaxonomyVersion, ClassifierVersion, Reason, Confidence FROM trace_labels "
        f"WHERE Labeller = 'distilled' AND ClassifierVersion != 'near-duplicate' AND TraceId < '{BEFORE + 1:032x}' "
        "ORDER BY TraceId LIMIT 1"
    )
    assert row["RunId"] == labelled.run["run_id"]
    assert row["Confidence"] > 0.5
    like = row["Reason"].removeprefix("most like trace ")
    classifiers = labelled.product.rows(
        "SELECT ClassifierVersion, RunId, TaxonomyVersion, Learned, Error, Estimated, Quality['agreement'] AS agreement "
        "FROM classifiers FINAL"
    )
    assert classifiers == [
        {
            "ClassifierVersion": row["ClassifierVersion"],
            "RunId": row["RunId"],
            "TaxonomyVersion": row["TaxonomyVersion"],
            "Learned": SAMPLE,
            "Error": "",
            "Estimated": True,
            "agreement": pytest.approx(1, abs=0.1),
        }
    ]
    read = labelled.product.rows(
        f"SELECT Evidence FROM trace_labels WHERE TraceId = '{like}' AND Labeller = 'llm'"
    )
    assert read[0]["Evidence"]


def test_the_reports_shares_are_combined_with_predictions(labelled: Labelled) -> None:
    def report() -> dict[str, Any]:
        return labelled.product.json("report", labelled.run["run_id"], "--format", "json")

    wait_until(lambda: "estimates" in report(), report)
    document = report()
    estimates = document["estimates"]
    assert (estimates["method"], estimates["labelled"]) == ("prediction_powered", SAMPLE)
    assert estimates["predicted"] == BEFORE - SAMPLE
    assert 0 < estimates["power"] <= 1
    shares = {c["name"]: c for c in document["categories"]}
    for name, share in SHARES.items():
        assert shares[name]["share"] == pytest.approx(share, abs=0.1)
        assert shares[name]["share_low"] <= share <= shares[name]["share_high"]
    assert f"predictions for {BEFORE - SAMPLE} other traces" in document["summary"]
    rows = labelled.product.rows(
        f"SELECT Name, Share, Traces FROM report_categories FINAL WHERE RunId = '{labelled.run['run_id']}' AND Level = 1"
    )
    assert {row["Name"]: row["Share"] for row in rows} == {name: c["share"] for name, c in shares.items()}
    text = labelled.product.run("report", labelled.run["run_id"])
    assert f"predictions for {BEFORE - SAMPLE} other traces" in " ".join(text.stdout.split())


def test_new_traces_are_labelled_as_they_close(labelled: Labelled) -> None:
    new = range(1001, 1040)
    send(labelled.service, new)
    all_labelled(labelled.service, BEFORE + len(new))
    found = labelled.labels(f"TraceId >= '{1001:032x}' AND TraceId <= '{1040:032x}'")
    assert {row["Labeller"] for row in found} <= {"distilled", "llm"}
    counts = in_kinds({(row["Category"], row["Labeller"]): row["n"] for row in found})
    assert all(count >= 0.7 * len(new) * SHARES[name] for name, count in counts.items())
    # A late span makes a revision, and a label of it.
    root = 1001 * 10
    export(labelled.service.endpoints["grpc"], request(span(1001, 10019, root, start=recently())))
    sql = f"SELECT max(Revision) AS n FROM trace_labels_current WHERE TraceId = '{1001:032x}'"
    wait_until(lambda: labelled.product.rows(sql) == [{"n": 2}], lambda: labelled.product.rows(sql))


def test_a_model_is_asked_about_a_few_that_are_unclear(labelled: Labelled) -> None:
    send(labelled.service, range(2001, 2031), lambda number: f"xylophone quux {number * 7919} parcel")
    asked = "SELECT sum(Traces) AS traces, sum(Labelled) AS labelled, sum(CostUsd) AS usd FROM label_asks"
    wait_until(
        lambda: labelled.product.rows(asked)[0]["traces"] == ASKED, lambda: labelled.product.rows(asked)
    )
    told = labelled.product.rows(asked)[0]
    sql = "SELECT count() AS n FROM trace_labels_current WHERE Labeller = 'llm' AND ClassifierVersion != '' AND Evidence != ''"
    assert told["labelled"] == labelled.product.rows(sql)[0]["n"] > 0
    assert told["usd"] > 0


def test_the_classifiers_can_be_seen_and_chosen(labelled: Labelled) -> None:
    api = labelled.service.endpoints["api"]
    (found,) = json.loads(get(api, "/v1/classifiers?analysis=topics")[1])["classifiers"]
    assert (found["in_use"], found["run_id"], found["learned"]) == (True, labelled.run["run_id"], SAMPLE)
    assert found["bytes"] > 1000
    choice = {"analysis": "topics", "classifier_version": found["classifier_version"], "who": "ada"}
    chosen = {name: choice[name] for name in ("analysis", "classifier_version")}
    assert post(api, choice) == (200, chosen | {"run_id": labelled.run["run_id"]})
    code, answer = post(api, choice | {"classifier_version": "nope"})
    assert (code, answer["error"]) == (404, "analysis 'topics' has no classifier 'nope'")
    assert post(api, choice | {"more": 1})[0] == 400
    assert labelled.service.status()["last_error"] is None


@pytest.mark.slow
def test_killed_in_the_middle(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 while the rest of the window is labelled: the next process goes on, and no trace stays without."""
    traces = 3000
    with ScriptedModel(Oracle(truth)) as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        product = Product(tmp_path).configure(
            analyses=[analysis()], label={"learn_seconds": 0.2, "batch_traces": 20, "ask_model": False}
        )
        with product.serve() as service:
            send(service, range(1, traces + 1))
            wait_until_assembled(service, traces, seconds=SECONDS)
            product.json("analyze", "topics", "--format", "json")
            count = "SELECT uniqExact(TraceId) AS n FROM trace_labels"
            wait_until(lambda: product.rows(count)[0]["n"] > SAMPLE + 200, lambda: product.rows(count))
            os.kill(service.pid, signal.SIGKILL)
        with served(product) as running:
            all_labelled(running.service, traces)
            (row,) = running.product.rows(
                "SELECT count() AS labels, uniqExact(TraceId) AS traces FROM trace_labels "
                "WHERE Labeller = 'distilled' AND ClassifierVersion != 'near-duplicate'"
            )
            assert row["traces"] <= traces
            assert row["labels"] <= row["traces"] + 200
            (current,) = running.product.rows("SELECT count() AS n FROM trace_labels_current")
            assert current["n"] == traces


@pytest.mark.slow
def test_of_two_services_on_a_server_one_labels(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each trace once; when the one that does it is killed, the other goes on."""
    with ClickHouseServer(tmp_path / "clickhouse") as server, ScriptedModel(Oracle(truth)) as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        products = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            products.append(
                Product(tmp_path / name).configure(
                    store={"dsn": server.dsn()},
                    analyses=[analysis()],
                    label={"learn_seconds": 0.2, "ask_model": False},
                    scheduler={"lease_seconds": 4, "claim_seconds": 0.5},
                )
            )
        with products[0].serve() as one, products[1].serve() as two:
            send(one, range(1, BEFORE + 1))
            wait_until_assembled(one, BEFORE, seconds=SECONDS)
            products[0].json("analyze", "topics", "--format", "json")
            all_labelled(one, BEFORE)
            assert two.status()["unlabelled"] == 0
            (row,) = products[0].rows(
                "SELECT count() AS labels, uniqExact(TraceId) AS traces FROM trace_labels "
                "WHERE Labeller = 'distilled' AND ClassifierVersion != 'near-duplicate'"
            )
            assert row["labels"] == row["traces"] > 0
            assert products[0].rows("SELECT count() AS n FROM classifier_choices") == [{"n": 1}]
            (turn,) = products[0].rows(
                "SELECT Holder AS holder FROM run_leases WHERE Analysis = 'label all' AND Event = 'held' "
                "ORDER BY At DESC LIMIT 1"
            )
            labels, other = (one, two) if f":{one.pid}:" in turn["holder"] else (two, one)
            assert f":{labels.pid}:" in turn["holder"]
            os.kill(labels.pid, signal.SIGKILL)
            send(other, range(1001, 1031))
            all_labelled(other, BEFORE + 30)
            assert other.status()["last_error"] is None
