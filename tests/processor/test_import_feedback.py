"""Rows of feedback out of JSON, JSON lines and CSV."""

from __future__ import annotations

import io
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracetaxa.errors import ConfigError
from tracetaxa.feedback import parse_feedback
from tracetaxa.imports.feedback import FeedbackSummary, import_feedback
from tracetaxa.imports.source import Source

if TYPE_CHECKING:
    from tracetaxa.records import Feedback

NOW_NS = 1_795_337_071_000_000_000
TRACE = "01" * 16


def run(text: str | bytes, name: str = "f.jsonl", **options: Any) -> tuple[list[Feedback], FeedbackSummary]:
    kept: list[Feedback] = []

    def store(batch: Any) -> dict[int, str]:
        kept.extend(given for _, given in batch)
        return {}

    raw = text.encode() if isinstance(text, str) else text
    parse = partial(parse_feedback, source="import", now_ns=NOW_NS)
    summary = import_feedback(
        [Source(name, io.BytesIO(raw))], options.pop("columns", {}), parse, store, **options
    )
    return kept, summary


ITEM = {"trace_id": TRACE, "name": "helpful", "score": 1}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ITEM) + "\n" + json.dumps({**ITEM, "user": "b"}),
        json.dumps([ITEM, {**ITEM, "user": "b"}], indent=1),
        json.dumps({"feedback": [ITEM, {**ITEM, "user": "b"}]}),
        f"trace_id,key,value,user_id,unknown\n{TRACE},helpful,1,,x\n{TRACE},helpful,1,b,y\n",
    ],
    ids=["lines", "list", "object", "csv"],
)
def test_shapes(text: str) -> None:
    kept, summary = run(text, "feedback")
    assert [(f.trace_id, f.name, f.score, f.source) for f in kept] == [(TRACE, "helpful", 1.0, "import")] * 2
    assert kept[0].feedback_id != kept[1].feedback_id
    assert (summary.read, summary.accepted, summary.bad) == (2, 2, 0)
    assert run(text, "feedback")[0] == kept


@pytest.mark.parametrize(
    ("score", "expected"),
    [("thumbs_up", (1.0, "thumbs_up")), ("Fail", (0.0, "Fail")), ("no", (0.0, "no")), ("0.5", (0.5, "")),
     (True, (1.0, "")), ("so so", (None, "so so"))],
)  # fmt: skip
def test_scores_in_words(score: Any, expected: tuple[float | None, str]) -> None:
    (found,), _ = run(json.dumps({**ITEM, "score": score}))
    assert (found.score, found.label) == expected


def test_bad_rows_and_refusals_have_their_lines() -> None:
    lines = [
        json.dumps(ITEM),
        "{",
        json.dumps({"score": 1}),
        json.dumps({**ITEM, "scor": 1}),
        json.dumps(ITEM),
    ]
    kept, summary = run("\n".join(lines), batch_items=1)
    assert (len(kept), summary.bad) == (2, 3)
    assert [problem.line for problem in summary.problems] == [2, 3, 4]
    assert "did you mean 'score'" in summary.problems[2].reason

    refusing = import_feedback(
        [Source("x", io.BytesIO("\n".join([lines[0], lines[0]]).encode()))],
        {},
        partial(parse_feedback, source="import", now_ns=NOW_NS),
        lambda batch: {1: "no"},
    )
    assert (refusing.accepted, refusing.refused, str(refusing.problems[0])) == (1, 1, "x:2: no")


def test_chosen_columns() -> None:
    text = f"run,stars\n{TRACE},4\n"
    (found,), _ = run(text, "x.csv", columns={"trace_id": "run", "score": "stars"})
    assert (found.trace_id, found.score, found.name) == (TRACE, 4.0, "feedback")
    with pytest.raises(ConfigError, match="no such column"):
        run(text, "x.csv", columns={"trace_id": "nope"})


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"[{", b'{"trace_id":', b"trace_id,score\n"]))
def test_nothing_raises(data: bytes, prefix: bytes) -> None:
    _, summary = run(prefix + data, "x")
    assert summary.accepted + summary.bad == summary.read
