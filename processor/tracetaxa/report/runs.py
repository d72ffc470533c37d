"""The list of runs in a terminal."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from tracetaxa.report import format as fmt
from tracetaxa.report.plain import one_line
from tracetaxa.report.quote import clip
from tracetaxa.report.terminal import indented, line, paint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import RenderableType

_ERROR_CHARS = 300
_STYLES = {"complete": "green", "partial": "yellow", "failed": "red", "running": "cyan"}
_COLUMNS = (16, 24, 9, 8, 8)
"""Of the run's id, its analysis, its status, what it selected, and what it cost."""
_NARROW = 72
"""A terminal narrower than this has the first three only."""


def render_runs(runs: Sequence[Mapping[str, Any]], width: int = 80, color: bool = False) -> str:
    """Runs as `run_history` tells them, in the order given; why one is not complete stands below it."""
    return paint(_lines(runs, width), width, color)


def _lines(runs: Sequence[Mapping[str, Any]], width: int) -> Iterator[RenderableType]:
    if not runs:
        yield line("There is no run yet; make one with: tracetaxa analyze NAME")
        return
    places = fmt.cost_places(run["cost_usd"] for run in runs)
    yield _row(("run", "analysis", "status", "selected", "cost"), width, "dim", "dim")
    for run in runs:
        cells = (
            run["run_id"],
            one_line(run["analysis"]),
            run["status"],
            fmt.compact(run["selected"]),
            fmt.cost(run["cost_usd"], places),
        )
        yield _row(cells, width, "bold", _STYLES.get(run["status"], ""))
        yield indented(line(_story(run), "dim"), 2)
        if run["error"]:
            yield indented(line(clip(one_line(run["error"]), _ERROR_CHARS)), 2)


def _row(cells: Sequence[str], width: int, style: str, status_style: str) -> Table:
    table = Table.grid(padding=(0, 2))
    shown = cells if width >= _NARROW else cells[:3]
    for index, columns in enumerate(_COLUMNS[: len(shown)]):
        table.add_column(width=columns, overflow="fold", justify="right" if index > 2 else "left")
    styles = ("", style, status_style, style, style)
    table.add_row(*(Text(cell, style=part) for cell, part in zip(shown, styles, strict=False)))
    return table


def _story(run: Mapping[str, Any]) -> str:
    """Its window; when it ran, for how long, and whether by its schedule."""
    ran = f"ran {fmt.when(run['started_at'])}"
    if run["finished_at"]:
        length = datetime.fromisoformat(run["finished_at"]) - datetime.fromisoformat(run["started_at"])
        ran += f" for {fmt.duration(max(length, timedelta()) / timedelta(milliseconds=1))}"
    elif run["status"] == "running":
        ran = f"runs since {fmt.when(run['started_at'])}"
    else:
        ran = f"began {fmt.when(run['started_at'])}"
    scheduled = ", scheduled" if run["scheduled_for"] else ""
    return f"{fmt.window(run['window_start'], run['window_end'])}\n{ran}{scheduled}"
