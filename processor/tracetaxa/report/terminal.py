"""Laying text out in a terminal of a given width. All text handed in is plain already (see `plain`)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MIN_WIDTH = 40


def paint(parts: Iterable[RenderableType], width: int, color: bool) -> str:
    """The parts one below the other; no line is wider than `width` cells (at least 40) or ends in a space.

    Only what is `unbroken` may be wider.
    """
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=max(width, MIN_WIDTH),
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text) and part.no_wrap is True)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def line(text: str, style: str = "") -> Text:
    """Text that wraps between words, and inside a word that is wider than the line."""
    return Text(text, style=style, overflow="fold")


def unbroken(text: str) -> Text:
    """A line to be copied: it stays one line in any terminal, since a cut command pastes wrong."""
    return Text(text, no_wrap=True, overflow="ignore")


def heading(text: str) -> Text:
    return Text(f"\n{text.upper()}", style="bold cyan", overflow="fold")


def indented(part: RenderableType, columns: int) -> Padding:
    return Padding(part, (0, 0, 0, columns), expand=False)


def bullets(items: Sequence[str], mark: str = "•") -> Table:
    """A list with hanging indents."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for item in items:
        grid.add_row(mark, line(item))
    return grid


def facts(rows: Iterable[tuple[str, str]], label_width: int = 9) -> Table:
    """Names on the left, values on the right; rows without a value are left out."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim", min_width=label_width)
    grid.add_column(overflow="fold")
    for name, value in rows:
        if value:
            grid.add_row(name, line(value))
    return grid


def bar(share: float, low: float, high: float, scale: float, cells: int) -> str:
    """A share and its interval: █ up to the lower bound, ▓ up to the share, ░ up to the upper bound."""
    ends = [min(cells, max(0, round(value / scale * cells))) for value in (low, share, high)]
    solid, middle, far = ends[0], max(ends[0], ends[1]), max(ends)
    drawn = "█" * solid + "▓" * (middle - solid) + "░" * (far - middle)
    return drawn if drawn or share <= 0 else "▏"
