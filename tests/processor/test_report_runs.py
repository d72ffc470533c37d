"""The list of runs in a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from tracetaxa.report.runs import render_runs


def run(**changes: Any) -> dict[str, Any]:
    return {
        "run_id": "0123456789abcdef",
        "analysis": "failures",
        "status": "complete",
        "window_start": "2026-11-20T03:00:00Z",
        "window_end": "2026-11-21T03:00:00Z",
        "selected": 12345,
        "cost_usd": 0.8123,
        "error": None,
        "started_at": "2026-11-21T03:02:41.5Z",
        "finished_at": "2026-11-21T03:07:12Z",
        "scheduled_for": "2026-11-21T03:00:00Z",
    } | changes


def test_what_is_told_of_a_run() -> None:
    text = render_runs(
        [
            run(status="running", finished_at=None, cost_usd=None),
            run(),
            run(status="partial", scheduled_for=None, selected=7, error="the budget was reached"),
            run(status="failed", finished_at=None, error="its process ended before the run did"),
        ]
    )
    assert (
        text
        == """\
run               analysis                  status     selected      cost
0123456789abcdef  failures                  running       12.3k         –
  2026-11-20 03:00 – 2026-11-21 03:00 UTC (1 d)
  runs since 2026-11-21 03:02:41 UTC, scheduled
0123456789abcdef  failures                  complete      12.3k     $0.81
  2026-11-20 03:00 – 2026-11-21 03:00 UTC (1 d)
  ran 2026-11-21 03:02:41 UTC for 4 min 30 s, scheduled
0123456789abcdef  failures                  partial           7     $0.81
  2026-11-20 03:00 – 2026-11-21 03:00 UTC (1 d)
  ran 2026-11-21 03:02:41 UTC for 4 min 30 s
  the budget was reached
0123456789abcdef  failures                  failed        12.3k     $0.81
  2026-11-20 03:00 – 2026-11-21 03:00 UTC (1 d)
  began 2026-11-21 03:02:41 UTC, scheduled
  its process ended before the run did
"""
    )


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("color", [False, True])
def test_nothing_breaks_out(width: int, color: bool) -> None:
    hostile = "\x1b[2J[red]" + "x" * 500
    text = render_runs([run(analysis="a" * 60, error=hostile)], width, color)
    assert "\x1b[2J" not in text
    assert "[red]" in text
    if not color:
        assert max(map(len, text.splitlines())) <= width


def test_no_runs() -> None:
    assert render_runs([]) == "There is no run yet; make one with: tracetaxa analyze NAME\n"
