"""Progress of long work on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracetaxa.protocols import Progress

_STEPS = 10
"""Plain output tells at most this many times how far a stage is."""


@contextlib.contextmanager
def shown_progress(title: str) -> Iterator[Progress]:
    """A progress callback that shows its calls until the block ends."""
    if not sys.stderr.isatty():
        yield _plain(title)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = [
        TextColumn("{task.description:<20}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    ]
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(f"{title}: {stage}", total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


def _plain(title: str) -> Progress:
    told: dict[str, int] = {}

    def show(stage: str, done: int, total: int) -> None:
        step = done * _STEPS // total if total else _STEPS
        if told.get(stage) != step:
            told[stage] = step
            print(f"{title}: {stage} {done}/{total}", file=sys.stderr, flush=True)

    return show
