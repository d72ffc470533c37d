"""The quality card as readers see it, and a run that is asked for all of it."""

from __future__ import annotations

import asyncio
import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from factories import START_NS
from noisy_oracle import NoisyOracle, cases
from tracetaxa.analyze.results.document import build_document
from tracetaxa.analyze.results.quality import Checks, quality_card
from tracetaxa.api import create_api
from tracetaxa.config import Config
from tracetaxa.jobs import RunRequest, quote_request, run_request
from tracetaxa.records import ReportRow, RunRow, Spend
from tracetaxa.report.document import opened
from tracetaxa.report.html import render_html
from tracetaxa.report.markdown import render_markdown
from tracetaxa.report.quality import quality_rows
from tracetaxa.report.text import render_text
from tracetaxa.schedule.runs import Runs
from tracetaxa.testing import ScriptedModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tracetaxa.store.database import ClickHouse

DOCUMENT: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "report" / "document.json").read_text()
)


def with_quality(**changes: Any) -> dict[str, Any]:
    given = copy.deepcopy(DOCUMENT)
    given["quality"] |= changes
    return given


def rows(document: dict[str, Any]) -> dict[str, str]:
    return dict(quality_rows(opened(document)))


RENDERINGS = [render_text, render_markdown, render_html]


@pytest.mark.parametrize("render", RENDERINGS)
def test_every_rendering_has_all_of_the_card(render: Callable[[dict[str, Any]], str]) -> None:
    def words(text: str) -> str:
        return "".join(text.replace("\\", "").split())

    rendered = words(render(DOCUMENT))
    for name, said in rows(DOCUMENT).items():
        assert words(said) in rendered, name


def test_what_the_card_says() -> None:
    said = rows(DOCUMENT)
    assert list(said) == ["agreement", "confused", "confidence", "stability", "left over", "checks cost"]
    assert said["agreement"].startswith(
        "91% (86–94%) of 196 traces read twice got the same category (kappa 0.88)"
    )
    assert "not truth" in said["agreement"]
    assert said["confused"].endswith("Address changes after dispatch ↔ Refund lookups time out: 5")
    assert said["confidence"].startswith("0.87 (stated as 0.93) on average")
    assert "AMI 0.81, ARI 0.84" in said["stability"]
    assert "Other" not in said["stability"]  # what is left over need not be stable
    assert "14% (12–16%) fit no category; 20 without a verdict" in said["left over"]


@pytest.mark.parametrize("render", RENDERINGS)
def test_what_is_unknown_says_why(render: Callable[[dict[str, Any]], str]) -> None:
    why = {"agreement": "the local engine gives the same answer", "stability": "not asked for"}
    document = with_quality(agreement=None, calibration=None, stability=None, spend={}, missing=why)
    rendered = " ".join(render(document).split())
    assert "not measured: the local engine gives the same answer" in rendered
    assert "not measured: not asked for" in rendered
    assert "kappa" not in rendered
    assert "confidence" not in rows(document)


@pytest.mark.parametrize("render", RENDERINGS)
def test_an_older_report_has_no_card(render: Callable[[dict[str, Any]], str]) -> None:
    document = copy.deepcopy(DOCUMENT)
    del document["quality"]
    rendered = render(document).lower()
    assert "quality" not in rendered
    assert render({**DOCUMENT, "categories": []}).lower().count("quality") == 0


def test_one_level_is_told_once() -> None:
    agreement = copy.deepcopy(DOCUMENT["quality"]["agreement"])
    stability = copy.deepcopy(DOCUMENT["quality"]["stability"])
    agreement["label"], stability["label"] = agreement["category"], stability["category"]
    said = rows(with_quality(agreement=agreement, stability=stability))
    assert "subcategor" not in said["agreement"] + said["stability"]


def test_traces_that_are_read_differently_are_a_key_point() -> None:
    run = RunRow(
        *(
            "r",
            "topics",
            0,
            1,
            "complete",
            "openai",
            (),
            {},
            400,
            400,
            400,
            0,
            0,
            0,
            0,
            None,
            0,
            0,
            "{}",
            "",
            0,
        )
    )

    def points(agreed: int) -> list[str]:
        category = {
            "compared": 100,
            "share": agreed / 100,
            "share_low": 0.0,
            "share_high": agreed / 100 + 0.05,
        }
        quality = {"agreement": {"category": category}}
        document = build_document(run, "?", 1, [], [], Spend(), 0, strata={}, quality=quality)
        return [point for point in document["key_points"] if "Read twice" in point]

    assert points(90) == points(76) == []
    (said,) = points(61)
    assert said.startswith(
        "Read twice, only 61% (95% interval 0% to 66%) of 100 traces got the same category"
    )


def test_a_run_that_is_asked_for_everything(store: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the ordinary job: the quote counts the checks, the bill is told, and the run has its own id."""
    with ScriptedModel(NoisyOracle()) as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.base_url)
        price = {"input": 1.0, "output": 4.0}
        llm = {
            "taxonomy_model": "large",
            "assignment_model": "small",
            "prices": {"large": price, "small": price},
        }
        config = Config(llm=llm)  # type: ignore[arg-type]

        async def nothing_open(unit: str) -> int:
            return 0

        async def go() -> tuple[RunRow, RunRow, dict[str, Any], list[str], int]:
            await store.insert("traces", cases(120))
            window = {"window_start_ns": START_NS, "window_end_ns": START_NS + 10**12}
            plain = await run_request(config, store, RunRequest("topics", **window), still_open=nothing_open)
            asked = len(model.requests)
            wanted = RunRequest("topics", **window, stability=True)
            quoted = await quote_request(config, store, wanted, still_open=nothing_open)
            run = await run_request(config, store, wanted, still_open=nothing_open)
            (report,) = await store.records("reading/report_by_run", ReportRow, run_id=run.run_id)
            stages = [stage.name for stage in quoted.quote.stages]
            return plain, run, json.loads(report.document), stages, asked

        plain, run, document, stages, asked = asyncio.run(go())
    assert (plain.status, run.status) == ("complete", "complete")
    assert plain.run_id != run.run_id
    quality = document["quality"]
    assert quality["missing"] == {}
    assert quality["agreement"]["compared"] == 24
    # Both passes and the audit are in the reply cache; only the halves are paid for.
    assert quality["spend"]["audit"]["calls"] == 0
    assert quality["spend"]["stability"]["calls"] == len(model.requests) - asked > 0
    assert quality["spend"]["stability"]["cost_usd"] == pytest.approx(run.cost_usd)
    assert {stage.split(",")[0] for stage in stages} == {"half 1", "half 2"}
    stability = quality["stability"]
    assert [half["traces"] for half in stability["halves"]] == [60, 60]
    assert stability["compared"] == 120
    assert {c["category_id"] for c in stability["categories"]} <= {
        c["category_id"] for c in document["categories"]
    }
    assert 0.1 < stability["category"]["ami"] < 1  # the oracle labels with noise
    assert render_text(document).count("AMI") == 1


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"stability": "yes"}, "stability must be true or false"),
        ({"stability": 1}, "stability must be true or false"),
        ({"seed": True}, "seed must be a whole number"),
        ({"stabilty": True}, "unknown field 'stabilty'"),
    ],
)
def test_the_api_refuses_what_it_would_misread(
    store: ClickHouse, values: dict[str, Any], problem: str
) -> None:
    async def status() -> dict[str, Any]:
        return {}

    async def nothing_open(unit: str) -> int:
        return 0

    config = Config()
    api = TestClient(
        create_api(config, store, status, Runs(config, store, nothing_open), None), "http://localhost"
    )
    reply = api.post("/v1/quotes", json={"analysis": "topics", **values})
    assert (reply.status_code, problem in reply.json()["error"]) == (400, True)
    quoted = api.post("/v1/quotes", json={"analysis": "topics", "engine": "local", "stability": True})
    assert quoted.status_code == 200, quoted.text


def test_a_run_that_ended_early_says_so() -> None:
    card = quality_card(Checks(), [], {"": 0})
    assert card["agreement"] is card["calibration"] is card["stability"] is card["other"] is None
    assert card["missing"]["agreement"] == card["missing"]["calibration"] == "this run ended before the audit"
    assert set(card["missing"]) == {"agreement", "calibration", "stability", "other"}
    assert card["abstentions"] == []
