"""The spans of a trace as a tree with times, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from tracetaxa.report import format as fmt
from tracetaxa.report.plain import one_line
from tracetaxa.report.quote import clip

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracetaxa.records import SpanLine

_MAX_DEPTH = 12
"""Deeper spans are not indented further: the names need the room."""
_NAME_CHARS = 80
_KIND_STYLES = {"model": "cyan", "tool": "yellow", "agent": "green", "retrieval": "magenta"}


def span_tree(spans: Iterable[SpanLine], start_ns: int, width: int) -> Table:
    """When each span started, how long it took, its name below its parent's, and what it is."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim", justify="right")
    grid.add_column(no_wrap=True, justify="right")
    grid.add_column(overflow="fold")
    for span in spans:
        failed = span.status == "Error"
        indent = "  " * min(span.depth, _MAX_DEPTH, max(0, width - 50) // 4)
        name = Text(clip(one_line(span.name), _NAME_CHARS), style="red" if failed else "")
        if what := _what(span):
            name.append(f"  {what}", _KIND_STYLES.get(span.kind, "dim"))
        if failed:
            name.append("  failed", "bold red")
        grid.add_row(
            f"+{fmt.duration(max(0, span.start_ns - start_ns) / 1e6)}",
            fmt.duration((span.end_ns - span.start_ns) / 1e6),
            Text(indent, overflow="fold").append(name),
        )
    return grid


def _what(span: SpanLine) -> str:
    parts = [span.kind] if span.kind != "other" else []
    if span.model and span.kind in ("model", "retrieval"):
        parts.append(clip(one_line(span.model), 40))
    if span.input_tokens is not None or span.output_tokens is not None:
        parts.append(f"{fmt.compact(span.input_tokens or 0)} → {fmt.compact(span.output_tokens or 0)} tokens")
    return ", ".join(parts)
