"""Which traces of a category are shown, and for what."""

from __future__ import annotations

from typing import Any

from factories import trace_row
from tracetaxa.analyze.findings.exemplars import TYPICAL, exemplars
from tracetaxa.analyze.results.aggregate import Labelled
from tracetaxa.records import Assignment, SampledTrace


def member(number: int, confidence: float = 0.9, evidence: str = "quote", **changes: Any) -> Labelled:
    trace_id = f"t{number:02}"
    row = trace_row(trace_id, request=changes.pop("request", f"request {number}"), **changes)
    return Labelled(SampledTrace(row, "", 1.0), Assignment(trace_id, "a", "", confidence, "", evidence))


def shown(members: list[Labelled], weights: list[float] | None = None) -> dict[str, list[str]]:
    found = exemplars(members, weights or [1.0] * len(members))
    return {e.label.trace.row.trace_id: [s.role for s in e.shown] for e in found}


def test_typical_ones_are_near_the_middle_and_sure_and_differ() -> None:
    members = [member(i, duration_ms=1000.0) for i in range(4)]
    members += [member(4, duration_ms=900_000.0), member(5, confidence=0.3), member(6, evidence="")]
    members += [member(7, request="REQUEST 0", duration_ms=1000.0)]
    found = shown(members)
    assert [trace_id for trace_id, roles in found.items() if "typical" in roles] == ["t00", "t01", "t02"]
    assert TYPICAL == 3


def test_extremes_say_how_far_they_are() -> None:
    members = [
        member(
            i,
            duration_ms=1000.0 + i,
            cost_usd=0.01,
            feedback={"stars": 4.0, "rare": -9.0} if i == 1 else {"stars": 4.0},
        )
        for i in range(8)
    ]
    members += [
        member(8, duration_ms=60_000.0, cost_usd=0.5),
        member(9, feedback={"stars": 1.0}, cost_usd=None),
        member(10, confidence=0.2),
    ]
    by_id = {e.label.trace.row.trace_id: e.shown for e in exemplars(members, [1.0] * 11)}
    slow, costly = by_id["t08"]
    assert (slow.role, slow.value, slow.usual) == ("slowest", 60_000.0, 1003.0)
    assert (costly.role, costly.value, costly.usual) == ("costliest", 0.5, 0.01)
    (disliked,) = by_id["t09"]
    assert (disliked.role, disliked.value, disliked.score) == ("worst feedback", 1.0, "stars")
    assert disliked.usual is not None
    assert 3 < disliked.usual < 4
    assert [(s.role, s.value, s.usual) for s in by_id["t10"]] == [("least sure", 0.2, 0.9)]


def test_what_is_usual_is_so_in_the_window() -> None:
    """Slow ones were read ten times as often: each counts a tenth."""
    members = [member(i, duration_ms=60_000.0) for i in range(10)] + [member(10 + i) for i in range(5)]
    weights = [1.0] * 10 + [10.0] * 5
    (slow,) = [s for e in exemplars(members, weights) for s in e.shown if s.role == "slowest"]
    assert slow.usual == 1000.0


def test_few_or_equal_members_have_no_extremes() -> None:
    assert set(shown([member(0), member(1, duration_ms=1e6)]).values() and ["typical"]) == {"typical"}
    assert all(roles == ["typical"] for roles in shown([member(i) for i in range(9)]).values())


def test_the_same_members_show_the_same_in_any_order() -> None:
    members = [member(i, confidence=0.5 + i % 3 / 10, duration_ms=1000.0 * (1 + i % 4)) for i in range(12)]
    assert shown(members) == shown(members[::-1])
