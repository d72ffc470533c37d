"""How findings, precision and exemplars read in every rendering."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tracetaxa.report.findings import SHOWN, TITLE, findings_note, findings_told, precision_line, shown_for
from tracetaxa.report.html import render_html
from tracetaxa.report.markdown import render_markdown
from tracetaxa.report.text import render_text

if TYPE_CHECKING:
    from collections.abc import Callable

REALISTIC = json.loads((Path(__file__).parents[1] / "data" / "report" / "document.json").read_text("utf-8"))
RENDERINGS = [render_text, render_markdown, lambda given: unescape(render_html(given))]


@pytest.fixture(params=RENDERINGS, ids=["text", "markdown", "html"])
def shown(request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], str]:
    """A rendering with its white space evened out, in small letters."""
    return lambda given: " ".join(request.param(given).split()).lower()


def finding(number: int, sentence: str = "") -> dict[str, Any]:
    first: dict[str, Any] = REALISTIC["findings"]["associations"][0]
    return first | {"sentence": sentence or f"Finding {number} of them."}


def report(tested: int, found: int, told: int, **changes: Any) -> Any:
    findings = {
        "tested": tested,
        "found": found,
        "false_discovery_rate": 0.05,
        "associations": [finding(i) for i in range(told)],
    }
    return REALISTIC | {"findings": findings} | changes


def test_every_rendering_tells_what_was_found_and_how_much_was_tested(
    shown: Callable[[dict[str, Any]], str],
) -> None:
    said = shown(REALISTIC)
    assert TITLE.lower() in said
    assert (
        "requests longer than 800 characters fail 3.1 times as often as others (2.2 to 4.4): 54% against 18%."
        in said
    )
    assert "412 pairs of a trait and an outcome were tested, 4 stand out from chance" in said
    assert "the share of refund lookups time out is known to ±3.0%" in said
    assert "slowest: 33 s, half take up to 8.4 s; worst thumbs: -1.00, mean -0.42" in said


@pytest.mark.parametrize(("render", "last"), list(zip(RENDERINGS, [SHOWN, 12, 12], strict=True)))
def test_a_terminal_has_room_for_the_clearest(render: Callable[[Any], str], last: int) -> None:
    said = render(report(500, 30, 12))
    assert [number for number in range(20) if f"Finding {number} of them." in said] == list(range(last))
    assert "the clearest" in said


def test_nothing_found_is_said_and_nothing_tested_is_not(shown: Callable[[dict[str, Any]], str]) -> None:
    assert "none stands out from chance" in shown(report(120, 0, 0))
    for without in (report(0, 0, 0), REALISTIC | {"findings": None}):
        assert TITLE.lower() not in shown(without)


def test_older_reports_have_none_of_it(shown: Callable[[dict[str, Any]], str]) -> None:
    old = json.loads(json.dumps({k: v for k, v in REALISTIC.items() if k not in ("findings", "precision")}))
    del old["population"]["copied"]
    for category in old["categories"]:
        for example in category["examples"]:
            example.pop("shown_for", None)
    said = shown(old)
    assert TITLE.lower() not in said
    assert not any(words in said for words in ("known to ±", "typical", "near-duplicate"))


def test_the_note_counts_what_is_told() -> None:
    assert "the clearest" not in findings_note(report(10, 2, 2), 2)
    assert "; the clearest 2 are told." in findings_note(report(10, 5, 2), 2)
    assert "; the clearest is told." in findings_note(report(10, 5, 1), 1)
    assert "tested, 1 stands out from chance" in findings_note(report(10, 1, 1), 1)
    assert findings_told(report(10, 5, 5), 3) == [f"Finding {i} of them." for i in range(3)]
    assert precision_line(report(1, 1, 1, precision=None)) == ""


@pytest.mark.parametrize(
    ("role", "value", "usual", "said"),
    [
        ("typical", None, None, "typical"),
        ("slowest", 64_000.0, 8_400.0, "slowest: 1 min 4 s, half take up to 8.4 s"),
        ("costliest", 0.52, 0.013, "costliest: $0.52, half cost up to $0.0130"),
        ("worst feedback", 0.0, 0.81, "worst csat: 0.00, mean 0.81"),
        ("least sure", 0.31, 0.9, "least sure: confidence 0.31, median 0.90"),
    ],
)
def test_why_an_example_is_shown(role: str, value: float | None, usual: float | None, said: str) -> None:
    example: Any = {"shown_for": [{"role": role, "value": value, "usual": usual, "score": "csat"}]}
    assert shown_for(example) == said
