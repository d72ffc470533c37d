"""Labels where people use them: given by hand, written back into spans, counted by Prometheus."""

from __future__ import annotations

import contextlib
import http.client
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from chats import SECONDS, send_chats, truth
from http_get import get
from product import Product, Served, served
from tracetaxa.testing import Oracle, ScriptedModel
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOTS = (
    "SELECT TraceId, SpanAttributes['tracetaxa.topics.category'] AS category, "
    "SpanAttributes['tracetaxa.topics.labeller'] AS labeller FROM otel_traces FINAL WHERE ParentSpanId = ''"
)


def soon(ask: Callable[[], Any], wanted: Any) -> None:
    wait_until(lambda: ask() == wanted, ask)


def post(labelled: Labelled, item: dict[str, Any]) -> None:
    connection = http.client.HTTPConnection(labelled.service.endpoints["api"], timeout=SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", "/v1/labels", json.dumps(item), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()


@dataclass(frozen=True)
class Labelled(Served):
    result: dict[str, Any]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Labelled]:
    """Eight chats that a run labelled; labels are written back, and figures are fresh."""
    product = Product(tmp_path_factory.mktemp("labels")).configure(
        label={"write_back": "on", "write_back_seconds": 0.1},
        metrics={"endpoint": "127.0.0.1:0", "refresh_seconds": 0.1, "window": "1w"},
    )
    with ScriptedModel(Oracle(truth)) as model, pytest.MonkeyPatch.context() as environment:
        environment.setenv("OPENAI_BASE_URL", model.base_url)
        environment.setenv("OPENAI_API_KEY", "sk-test")
        with served(product) as running:
            send_chats(running.service, 8)
            result = product.json("analyze", "topics", "--format", "json")
            yield Labelled(running.product, running.service, result)


def test_labels_reach_the_spans_themselves(labelled: Labelled) -> None:
    soon(lambda: {row["labeller"] for row in labelled.product.rows(ROOTS)}, {"llm"})
    rows = labelled.product.rows(ROOTS)
    current = labelled.product.rows("SELECT TraceId, Category FROM trace_labels_current")
    assert {row["TraceId"]: row["category"] for row in rows} == {
        row["TraceId"]: row["Category"] for row in current
    }
    status = labelled.service.status()
    assert (status["write_back"]["active"], status["write_back"]["reason"]) == (True, None)
    assert status["last_error"] is None


def test_a_person_has_the_last_word_everywhere(labelled: Labelled) -> None:
    product = labelled.product
    chosen = product.rows("SELECT TraceId, Category FROM trace_labels_current ORDER BY TraceId LIMIT 1")[0]
    done = product.run("label", chosen["TraceId"], "--analysis", "topics", "--category", "other", "--note", "a test", "--who", "ada")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"trace {chosen['TraceId']}: Other (topics, taxonomy version 1)")
    of_trace = f"{ROOTS} AND TraceId = '{chosen['TraceId']}'"
    soon(lambda: product.rows(of_trace)[0]["labeller"], "human")
    listed = product.json("label", "--list", "--format", "json")["labels"]
    assert [(row["trace_id"], row["category_id"], row["who"]) for row in listed] == [
        (chosen["TraceId"], "other", "ada")
    ]
    assert "ada · a test" in product.run("label", "--list").stdout
    metrics = (
        'tracetaxa_label_traces{analysis="topics",category="Other",category_id="other",labeller="human"} 1.0'
    )
    soon(lambda: metrics in get(labelled.service.endpoints["metrics"], "/metrics")[1], True)

    post(labelled, {"analysis": "topics", "trace_id": chosen["TraceId"], "take_back": True})
    soon(lambda: product.rows(of_trace)[0]["category"], chosen["Category"])


def test_a_run_is_held_against_what_people_say(labelled: Labelled) -> None:
    """Of two labels by people, one as the run's and one not."""
    product = labelled.product
    rows = product.rows(
        "SELECT TraceId, CategoryId, SubcategoryId FROM trace_labels_current WHERE CategoryId != 'other' ORDER BY TraceId LIMIT 2"
    )
    right, wrong = rows
    give = {"analysis": "topics", "trace_id": right["TraceId"], "category": right["CategoryId"]}
    post(labelled, give | {"subcategory": right["SubcategoryId"]})
    post(labelled, {"analysis": "topics", "trace_id": wrong["TraceId"], "category": "other"})
    again = product.json("analyze", "topics", "--seed", "7", "--format", "json")
    assert again["run_id"] != labelled.result["run_id"]
    document = json.loads(get(labelled.service.endpoints["api"], f"/v1/runs/{again['run_id']}/report")[1])
    people = document["quality"]["people"]
    assert (people["labelled"], people["compared"], people["category"]["agreed"]) == (2, 2, 1)
    assert people["category"]["kappa"] is None  # of two traces it would say nothing
    assert people["label"]["agreed"] == 1
    assert people["confused"][0]["people_category_id"] == "other"
    assert people["gone"] == []
    report = " ".join(product.run("report", again["run_id"]).stdout.split())
    assert "50% (9.5–91%) of 2 traces that people labelled got the same category" in report
    # The new run does not touch what people said.
    human = product.rows("SELECT TraceId FROM trace_labels_current WHERE Labeller = 'human'")
    assert {row["TraceId"] for row in human} == {right["TraceId"], wrong["TraceId"]}


def test_what_is_refused_has_an_exit_code(labelled: Labelled) -> None:
    trace_id = labelled.product.rows("SELECT TraceId FROM traces LIMIT 1")[0]["TraceId"]
    done = labelled.product.run("label", trace_id, "--analysis", "topics", "--category", "nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no category 'nonsense' in taxonomy version" in done.stderr


def test_what_came_in_is_counted(labelled: Labelled) -> None:
    code, text = get(labelled.service.endpoints["metrics"], "/metrics")
    assert code == 200
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    spans = labelled.product.rows("SELECT count() AS n FROM otel_traces FINAL")[0]["n"]
    assert float(lines['otelcol_receiver_accepted_spans_total{receiver="otlp"}']) == spans
    assert float(lines['otelcol_receiver_refused_spans_total{receiver="otlp"}']) == 0
    assert float(lines["tracetaxa_window_traces"]) == 8
    assert "process_resident_memory_bytes" in lines
    assert get(labelled.service.endpoints["metrics"], "/metrics", {"Host": "evil.example"})[0] == 403
