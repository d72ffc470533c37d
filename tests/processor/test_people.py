"""Labels by people: what is taken, what wins, what comes of taking one back, and what a report makes of them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from assembling import read
from factories import START_NS, trace_row
from given_labels import IDS, NOW, TREE, label, taxonomy
from tracetaxa.analyze.results.aggregate import Labelled
from tracetaxa.analyze.results.truth import beside_people, load_truth
from tracetaxa.api import create_api
from tracetaxa.cli.label import label as label_command
from tracetaxa.config import Config
from tracetaxa.people.items import MAX_ITEMS, LabelInvalid, items_of, parse_label
from tracetaxa.people.labels import give_labels, list_labels
from tracetaxa.records import (
    Assignment,
    Category,
    LabelRow,
    RunRow,
    SampledTrace,
    SessionRow,
    Taxonomy,
)
from tracetaxa.report.document import opened
from tracetaxa.report.html import render_html
from tracetaxa.report.markdown import render_markdown
from tracetaxa.report.quality import quality_rows
from tracetaxa.report.text import render_text
from tracetaxa.schedule.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.records import Labeller
    from tracetaxa.store.database import ClickHouse


def run_row(version: int, unit: str) -> RunRow:
    return RunRow(
        f"run{version}", "topics", START_NS, START_NS + 1, "complete", "local", (), {}, 0, 0, 0, 0, 0, 0, 0,
        None, START_NS, START_NS, json.dumps({"unit": unit}), "", START_NS,
    )  # fmt: skip


@pytest.fixture
def shop(store: ClickHouse) -> ClickHouse:
    """Four closed traces, three of them one session, and a taxonomy; a run labelled the first."""

    async def fill() -> None:
        rows = [
            trace_row(trace_id, session_id="c1" if number < 3 else "", revision=2)
            for number, trace_id in enumerate(IDS)
        ]
        await store.insert("traces", rows)
        await store.insert("taxonomies", taxonomy(1, TREE))
        await store.insert("trace_labels", [label()])

    asyncio.run(fill())
    return store


def give(store: ClickHouse, *items: dict[str, Any], now_ns: int = NOW) -> list[dict[str, Any]]:
    labels = [parse_label({"trace_id": IDS[0], "analysis": "topics"} | item) for item in items]
    return [outcome.as_dict() for outcome in asyncio.run(give_labels(store, labels, now_ns))]


def current(store: ClickHouse) -> list[LabelRow]:
    found = asyncio.run(store.records("people/current", LabelRow, trace_ids=IDS, analyses=["topics"]))
    return sorted(found, key=lambda row: row.trace_id)


# ------------------------------------------------------------------------------------------------- what is taken


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ([], "a label must be an object"),
        ({"trace": IDS[0]}, "field 'trace' is not known; did you mean 'trace_id'?"),
        ({"trace_id": "xyz"}, "trace_id must be 32 hexadecimal digits"),
        ({"analysis": "topics", "category": "a"}, "give one of trace_id and session_id"),
        ({"trace_id": IDS[0], "session_id": "s", "analysis": "t"}, "give one of trace_id and session_id"),
        ({"trace_id": IDS[0], "category": "a"}, "analysis is missing"),
        ({"trace_id": IDS[0], "analysis": "topics"}, "category is missing"),
        ({"trace_id": IDS[0], "analysis": "t", "category": "a", "take_back": True}, "take_back takes no category"),
        ({"trace_id": IDS[0], "analysis": "t", "take_back": "yes"}, "take_back must be true or false"),
        ({"trace_id": IDS[0], "analysis": "t", "category": "a\nb"}, "category must not hold control characters"),
        ({"trace_id": IDS[0], "analysis": "t", "category": "x" * 201}, "category is longer than 200 characters"),
        ({"trace_id": IDS[0], "analysis": "t", "category": "a", "note": 7}, "note must be text"),
    ],
)  # fmt: skip
def test_what_is_refused_says_why(item: Any, problem: str) -> None:
    with pytest.raises(LabelInvalid, match=problem.replace("?", r"\?")):
        parse_label(item)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.sampled_from(["trace_id", "session_id", "analysis", "category", "note", "take_back", "x"]), x)))  # fmt: skip
def test_anything_is_a_label_or_refused(value: Any) -> None:
    try:
        items = items_of(value)
    except LabelInvalid:
        return
    for item in items:
        try:
            given_label = parse_label(item)
        except LabelInvalid:
            pass
        else:
            assert given_label.analysis
            assert bool(given_label.trace_id) != bool(given_label.session_id)


def test_one_many_and_too_many() -> None:
    assert items_of({"a": 1}) == [{"a": 1}]
    assert items_of({"labels": [1, 2]}) == [1, 2]
    with pytest.raises(LabelInvalid, match=f"send at most {MAX_ITEMS} at once"):
        items_of([{}] * (MAX_ITEMS + 1))
    with pytest.raises(LabelInvalid, match="only field"):
        items_of({"labels": [], "x": 1})


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ({"category": "Refundz"}, "there is no category 'Refundz' in taxonomy version 1 of 'topics'; did you mean 'Refunds'?"),
        ({"category": "zzzz"}, "there is: 'Deliveries', 'Refunds', 'other'"),
        ({"category": "Late refund"}, "'Late refund' is a subcategory of 'Refunds': give both"),
        ({"category": "refunds", "subcategory": "Lost parcel"}, "there is no subcategory 'Lost parcel'"),
        ({"category": "other", "subcategory": "x"}, "category 'Other' has no subcategories"),
        ({"category": "refunds", "analysis": "topic"}, "analysis 'topic' has no taxonomy; did you mean 'topics'?"),
        ({"category": "refunds", "trace_id": "f" * 32}, "there is no closed trace ffff"),
        ({"take_back": True}, f"no person labelled trace {IDS[0]} in 'topics'"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused_with_what_is_near(
    shop: ClickHouse, wanted: dict[str, Any], problem: str
) -> None:
    (outcome,) = give(shop, wanted)
    assert problem in outcome["error"]
    assert read(shop, "SELECT count() FROM trace_labels") == [(1,)]


def test_a_label_by_a_person_has_all_that_follows_it(shop: ClickHouse) -> None:
    (made,) = give(shop, {"category": " REFUNDS ", "subcategory": "late  REFUND", "note": "a second\nlook", "who": "ada"})  # fmt: skip
    assert made["trace_ids"] == [IDS[0]]
    (row,) = current(shop)
    assert (row.category_id, row.category, row.subcategory_id) == ("refunds", "Refunds", "late_refund")
    assert (row.labeller, row.confidence, row.classifier_version) == ("human", 1.0, "ada")
    assert (row.reason, row.revision, row.taxonomy_version) == ("a second\nlook", 2, 1)
    assert row.attributes == {"frustrated": "true"}  # what a run extracted is not lost


# ------------------------------------------------------------------------------------------------- what wins


@dataclass(frozen=True)
class Step:
    kind: Labeller
    version: int
    revision: int
    category: str = ""


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """What runs of growing taxonomy versions, growing revisions of the trace, and people say of one trace."""
    steps, version, revision = [], 1, 1
    for number in range(draw(st.integers(1, 7))):
        version += draw(st.integers(0, 1))
        revision += draw(st.integers(0, 1))
        kind: Labeller = draw(st.sampled_from(["human", "human", "llm", "local", "distilled"]))
        taken_back = kind == "human" and draw(st.booleans())
        steps.append(Step(kind, version, revision, "" if taken_back else f"c{number}"))
    return steps


def expected(steps: Sequence[Step]) -> str:
    people = [step for step in steps if step.kind == "human"]
    if people and people[-1].category:
        return people[-1].category
    rank = {"llm": 3, "local": 2, "distilled": 1}
    programs = [
        (s.version, s.revision, rank[s.kind], i, s.category) for i, s in enumerate(steps) if s.kind != "human"
    ]
    return max(programs)[-1] if programs else ""


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(many=st.lists(histories(), min_size=8, max_size=8), merged=st.booleans())
def test_people_win_until_they_take_it_back(store: ClickHouse, many: list[list[Step]], merged: bool) -> None:
    """Whatever the order, and whether losers were merged away or not."""
    rows = [
        label(
            f"{number:032x}",
            labeller=step.kind,
            taxonomy_version=step.version,
            revision=step.revision,
            category_id=step.category,
            labelled_at_ns=START_NS + at * 10**9,
        )
        for number, steps in enumerate(many)
        for at, step in enumerate(steps)
    ]
    with store.reader() as client:
        for table in ("trace_labels", "trace_label_winners"):
            client.command(f"TRUNCATE TABLE {table}")
    asyncio.run(store.insert("trace_labels", rows[::2]))
    if merged:
        with store.reader() as client:
            client.command("OPTIMIZE TABLE trace_label_winners FINAL")
    asyncio.run(store.insert("trace_labels", rows[1::2]))
    found = dict(read(store, "SELECT TraceId, CategoryId FROM trace_labels_current"))
    wanted = {f"{number:032x}": expected(steps) for number, steps in enumerate(many)}
    assert found == {trace_id: category for trace_id, category in wanted.items() if category}


def test_it_holds_across_runs_taxonomies_and_revisions_and_can_be_taken_back(shop: ClickHouse) -> None:
    give(shop, {"category": "Refunds"})
    later = label(taxonomy_version=9, revision=7, labelled_at_ns=NOW + 10**12, category_id="billing")
    asyncio.run(shop.insert("trace_labels", [later]))
    assert [row.category_id for row in current(shop)] == ["refunds"]
    # Said again within one request, and by a clock that is behind: the last word counts.
    give(shop, {"category": "deliveries"}, {"category": "other"}, now_ns=NOW - 10**12)
    assert [row.category_id for row in current(shop)] == ["other"]
    (gone,) = give(shop, {"take_back": True, "who": "ada"}, now_ns=NOW - 10**13)
    assert gone["category_id"] == ""
    assert current(shop) == [later]
    assert give(shop, {"take_back": True})[0]["error"].startswith("no person labelled")
    give(shop, {"category": "Refunds"})
    assert [row.category_id for row in current(shop)] == ["refunds"]


def test_the_labelled_view_follows(shop: ClickHouse) -> None:
    with shop.reader() as client:
        client.command(
            f"INSERT INTO otel_traces (Timestamp, TraceId, SpanId, SpanName) VALUES (now64(9), '{IDS[0]}', 'aa', 'x')"
        )
    ask = "SELECT SpanAttributes['tracetaxa.topics.category'], SpanAttributes['tracetaxa.topics.labeller'] FROM otel_traces_labelled"
    give(shop, {"category": "Refunds"})
    assert read(shop, ask) == [("Refunds", "human")]
    give(shop, {"take_back": True})
    assert read(shop, ask) == [("Deliveries", "llm")]


# ------------------------------------------------------------------------------------------------- sessions


def test_a_session_is_all_its_traces(shop: ClickHouse) -> None:
    (made,) = give(shop, {"trace_id": "", "session_id": "c1", "category": "Refunds"})
    assert made["trace_ids"] == IDS[:3]
    assert [row.trace_id for row in current(shop)] == IDS[:3]
    (made,) = give(shop, {"trace_id": "", "session_id": "c2", "category": "Refunds"})
    assert made["error"] == "there is no closed session 'c2'"


def test_where_sessions_are_labelled_a_trace_stands_for_its_session(shop: ClickHouse) -> None:
    session = asdict(trace_row(IDS[0], session_id="c1", revision=5)) | {"trace_ids": tuple(IDS[:3])}
    asyncio.run(shop.insert("sessions", [SessionRow(**session)]))
    asyncio.run(shop.insert("analysis_run_states", [run_row(1, "session")]))
    made = give(
        shop, {"trace_id": IDS[1], "category": "Refunds"}, {"trace_id": IDS[3], "category": "Refunds"}
    )
    assert made[0]["trace_ids"] == IDS[:3]
    assert "labels sessions, and trace" in made[1]["error"]
    assert {row.revision for row in current(shop)} == {5}


# ------------------------------------------------------------------------------------------------- listing


def test_a_category_that_is_gone_is_said_and_its_label_stays(shop: ClickHouse) -> None:
    give(shop, {"category": "Refunds"}, {"trace_id": IDS[1], "category": "deliveries", "subcategory": "Lost parcel"})  # fmt: skip
    slim = {key: value for key, value in TREE.items() if key not in ("refunds", "late_refund", "lost_parcel")}
    asyncio.run(shop.insert("taxonomies", taxonomy(2, slim)))
    listed = {row["trace_id"]: row for row in asyncio.run(list_labels(shop))}
    assert listed[IDS[0]]["missing"] == "taxonomy version 2 no longer has the category 'Refunds'"
    assert listed[IDS[1]]["missing"] == "taxonomy version 2 no longer has the subcategory 'Lost parcel'"
    assert [row.category for row in current(shop)] == ["Refunds", "Deliveries"]
    assert asyncio.run(list_labels(shop, analysis="else")) == []
    assert len(asyncio.run(list_labels(shop, trace_id=IDS[1]))) == 1


# ------------------------------------------------------------------------------------------------- over HTTP


@pytest.fixture
def api(shop: ClickHouse) -> TestClient:
    async def status() -> dict[str, Any]:
        return {}

    async def nothing_open(unit: str) -> int:
        return 0

    config = Config()
    return TestClient(
        create_api(config, shop, status, Runs(config, shop, nothing_open), None), base_url="http://localhost"
    )


def test_over_http(api: TestClient) -> None:
    good = {"trace_id": IDS[0], "analysis": "topics", "category": "Refunds", "who": "ada"}
    made = api.post("/v1/labels", json=good)
    assert (made.status_code, made.json()["accepted"]) == (200, 1)
    assert made.json()["labels"][0]["category_id"] == "refunds"
    mixed = api.post(
        "/v1/labels", json={"labels": [good | {"category": "x"}, {"x": 1}, good | {"trace_id": IDS[1]}]}
    )
    assert mixed.status_code == 207
    assert [refused["index"] for refused in mixed.json()["refused"]] == [0, 1]
    assert [made is None for made in mixed.json()["labels"]] == [True, True, False]
    assert api.post("/v1/labels", json=[{"x": 1}]).status_code == 400
    assert api.post("/v1/labels", content=b"{}", headers={"content-type": "text/plain"}).status_code == 400
    listed = api.get("/v1/labels", params={"trace_id": IDS[0]}).json()["labels"]
    assert [(row["category"], row["who"], row["missing"]) for row in listed] == [("Refunds", "ada", "")]
    assert len(api.get("/v1/labels").json()["labels"]) == 2


# ------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "give TRACE_ID, or --session ID, or --list"),
        ([IDS[0], "--session", "s"], "give TRACE_ID, or --session ID, or --list"),
        ([IDS[0], "--category", "other"], "--analysis NAME is missing"),
        ([IDS[0], "--analysis", "topics"], "--category NAME is missing (or --take-back)"),
        (["--list", "--note", "x"], "--list goes with TRACE_ID, --session and --analysis only"),
    ],
)
def test_wrong_usage(arguments: list[str], problem: str) -> None:
    done = CliRunner().invoke(label_command, arguments)
    assert (done.exit_code, problem in done.output) == (2, True)


# ------------------------------------------------------------------------------------------------- the quality card

CARD: dict[str, Any] = {
    "labelled": 15,
    "compared": 12,
    "category": {"compared": 12, "agreed": 9, "share": 0.75, "share_low": 0.468, "share_high": 0.911, "kappa": 0.61, "alpha": 0.6},
    "label": {"compared": 4, "agreed": 2, "share": 0.5, "share_low": 0.15, "share_high": 0.85, "kappa": None, "alpha": None},
    "confused": [{"category_id": "other", "people_category_id": "nobody_knows", "traces": 2}],
    "without_verdict": 1,
    "gone": [{"category": f"Gone {number}\x1b", "traces": 5 - number} for number in range(5)],
}  # fmt: skip


@pytest.mark.parametrize("render", [render_text, render_markdown, render_html])
def test_every_rendering_says_how_a_run_stands_beside_people(render: Any) -> None:
    document = json.loads((Path(__file__).parents[1] / "data" / "report" / "document.json").read_text())
    document["quality"]["people"] = CARD
    said = dict(quality_rows(opened(document)))["people"]
    assert said == (
        "75% (47–91%) of 12 traces that people labelled got the same category (kappa 0.61), 50% (15–85%) of 4 the "
        "same subcategory; Other where people say nobody_knows: 2; 1 that people labelled got no verdict; people "
        "used categories that this taxonomy does not have (Gone 0␛: 5, Gone 1␛: 4, Gone 2␛: 3 and 2 more)"
    )

    def words(text: str) -> str:
        return "".join(text.replace("\\", "").split())

    assert words(said) in words(render(document))


def verdict(
    trace_id: str, category_id: str, subcategory_id: str = "", *, abstained: bool = False
) -> Labelled:
    row = trace_row(trace_id)
    given_verdict = Assignment(trace_id, category_id, subcategory_id, 0.9, abstained=abstained)
    return Labelled(SampledTrace(row, "", 1.0), given_verdict)


def test_a_run_beside_people(store: ClickHouse) -> None:
    ids = [f"{i:032x}" for i in range(20)]
    tree = Taxonomy(tuple(Category(key, name, "", parent) for key, (name, parent) in TREE.items()))
    rows = [label(trace_id, labeller="human", category_id="refunds") for trace_id in ids[:10]]
    rows[0] = replace(rows[0], subcategory_id="late_refund")
    rows[1] = replace(rows[1], subcategory_id="vanished")
    rows += [
        label(ids[10], labeller="human", category_id="vanished", category="Vanished"),
        label(ids[11], labeller="human", category_id="other"),
        label(ids[12], labeller="human", category_id="refunds"),
        label(ids[12], labeller="human", category_id="", labelled_at_ns=NOW),  # taken back
        label(ids[13], labeller="llm", category_id="refunds"),
    ]
    asyncio.run(store.insert("trace_labels", rows))
    truth = asyncio.run(load_truth(store, "topics", ids, tree))
    labelled = [verdict(trace_id, "refunds", "late_refund") for trace_id in ids[:8]]
    labelled += [verdict(ids[8], "deliveries"), verdict(ids[9], "other", abstained=True)]
    labelled += [verdict(trace_id, "other") for trace_id in ids[10:]]
    found = beside_people(truth, labelled)
    assert (found["labelled"], found["compared"], found["without_verdict"]) == (12, 10, 1)
    assert found["gone"] == [{"category": "Vanished", "traces": 1}]
    assert (found["category"]["agreed"], found["label"]["compared"], found["label"]["agreed"]) == (9, 1, 1)
    # 9 of 10 agree, by chance (8·9 + 1·1) in 100 would
    assert found["category"]["kappa"] == pytest.approx((0.9 - 0.73) / (1 - 0.73))
    assert found["label"]["kappa"] is None
    assert found["confused"] == [{"category_id": "deliveries", "people_category_id": "refunds", "traces": 1}]
    assert asyncio.run(load_truth(store, "tone", ids, tree)).labels == {}
