"""What somebody who waits is told."""

from __future__ import annotations

import pytest

from tracetaxa.progress import TimeLeft, describe, shown_progress
from tracetaxa.records import Standing


def standing(calls: int = 0, expected_calls: int = 100, **changes: object) -> Standing:
    values = {
        "cached_calls": 0,
        "input_tokens": 200_000,
        "output_tokens": 20_000,
        "cost_usd": 0.2149,
        "expected_usd": 0.52,
        "most_usd": 2.1,
    }
    return Standing(calls=calls, expected_calls=expected_calls, **(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("where", "seconds", "told"),
    [
        (standing(37), None, "37 of about 100 calls, $0.21 of about $0.52"),
        (standing(37), 3.2, "37 of about 100 calls, $0.21 of about $0.52, about 3 s left"),
        (standing(37), 0.1, "37 of about 100 calls, $0.21 of about $0.52, about 1 s left"),
        (standing(1200, 4000), 700.0, "1,200 of about 4,000 calls, $0.21 of about $0.52, about 12 min left"),
        (standing(1200, 4000), 9000.0, "1,200 of about 4,000 calls, $0.21 of about $0.52, about 2 h left"),
        (
            standing(5, cost_usd=None, expected_usd=None),
            None,
            "5 of about 100 calls, 220k tokens, price unknown",
        ),
        (standing(5, expected_usd=None), None, "5 of about 100 calls, $0.21"),
        (standing(0, 0, cached_calls=120), None, "120 answers from the reply cache, nothing spent"),
    ],
)
def test_what_is_said_of_the_money(where: Standing, seconds: float | None, told: str) -> None:
    assert describe(where, seconds) == told


def test_the_time_left_follows_the_rate_of_answers() -> None:
    now = 1000.0
    left = TimeLeft(lambda: now)
    assert left(standing(10)) is None  # what was answered before somebody looked says nothing
    now += 4
    assert left(standing(12)) is None
    now += 6
    assert left(standing(30)) == pytest.approx(10 / 20 * 70)
    assert left(standing(100)) is None
    assert left(standing(130)) is None  # more than expected


def test_plain_lines_are_few_and_say_what_was_spent(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress("topics") as show:
        show("quote", 0, 1)
        for done in range(1, 1001):
            show("assign", done, 1000, standing(done // 10))
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "topics: quote 0/1"
    assert 10 <= len(lines) <= 12
    assert lines[-1] == "topics: assign 1000/1000 (100 of about 100 calls, $0.21 of about $0.52)"
