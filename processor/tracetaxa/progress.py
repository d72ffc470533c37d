"""Progress of long work on standard error: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tracetaxa.protocols import Watcher
    from tracetaxa.records import Standing

_STEPS = 10
"""Plain output tells at most this many times how far a stage is."""
_FEWEST_CALLS = 3
"""Calls that must have been answered before they say how long the others will take."""
_SECONDS_A_MINUTE = 60
_MINUTES_AN_HOUR = 60


@contextlib.contextmanager
def shown_progress(title: str) -> Iterator[Watcher]:
    """A progress callback that shows its calls until the block ends."""
    if not sys.stderr.isatty():
        yield _plain(title)
        return
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    bars = Bars(
        TextColumn("{task.description:<20}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    tasks = {}
    spent, left = Text(), TimeLeft()
    newest: Standing | None = None

    def show(stage: str, done: int, total: int, standing: Standing | None = None) -> None:
        nonlocal newest
        if stage not in tasks:
            tasks[stage] = bars.add_task(f"{title}: {stage}", total=total)
        bars.update(tasks[stage], completed=done, total=total)
        if standing is not None:
            spent.plain, newest = describe(standing, left(standing)), standing

    with Live(Group(bars, spent), console=Console(stderr=True)):
        yield show
        if newest is not None:
            spent.plain = describe(newest, None)


def _plain(title: str) -> Watcher:
    told: dict[str, int] = {}
    left = TimeLeft()

    def show(stage: str, done: int, total: int, standing: Standing | None = None) -> None:
        seconds = left(standing) if standing is not None else None
        step = done * _STEPS // total if total else _STEPS
        if told.get(stage) == step:
            return
        told[stage] = step
        spent = f" ({describe(standing, seconds)})" if standing is not None else ""
        print(f"{title}: {stage} {done}/{total}{spent}", file=sys.stderr, flush=True)

    return show


class TimeLeft:
    """Seconds until all expected calls are answered, at the rate of those that were; None before it shows."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: tuple[float, int] | None = None

    def __call__(self, standing: Standing) -> float | None:
        now = self._clock()
        if self._began is None:
            self._began = (now, standing.calls)
        since, before = self._began
        answered = standing.calls - before
        missing = standing.expected_calls - standing.calls
        if answered < _FEWEST_CALLS or missing <= 0:
            return None
        return (now - since) / answered * missing


def describe(standing: Standing, seconds_left: float | None) -> str:
    """Such as '78 of about 153 calls, $0.21 of about $0.52, about 2 min left'."""
    if not standing.calls and not standing.expected_calls:
        return f"{standing.cached_calls:,} answers from the reply cache, nothing spent"
    parts = [f"{standing.calls:,} of about {standing.expected_calls:,} calls"]
    if standing.cost_usd is None:
        parts.append(f"{(standing.input_tokens + standing.output_tokens) / 1000:,.0f}k tokens, price unknown")
    elif standing.expected_usd is None:
        parts.append(f"${standing.cost_usd:.2f}")
    else:
        parts.append(f"${standing.cost_usd:.2f} of about ${standing.expected_usd:.2f}")
    if seconds_left is not None:
        parts.append(f"about {_duration(seconds_left)} left")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    if seconds < _SECONDS_A_MINUTE:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / _SECONDS_A_MINUTE)
    return f"{minutes} min" if minutes < 2 * _MINUTES_AN_HOUR else f"{minutes / _MINUTES_AN_HOUR:.0f} h"
