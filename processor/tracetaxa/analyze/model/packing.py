"""What goes into one request: as many pieces as may, no more text than fits, and no bad company.

A trace that speaks to whoever labels it (`analyze.injection`) could make a model rewrite the answers for its
neighbours. It has none: it goes alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tracetaxa.analyze.untrusted import injection

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracetaxa.records import TraceRow

T = TypeVar("T")

BYTES_PER_TOKEN = 3
"""Fewer bytes than a token of most texts has, so that an estimate is rather too high."""


def tokens_of(trace: TraceRow) -> int:
    """About how many tokens its digest has, rather too many."""
    lines = zip(trace.digest_kinds, trace.digest_texts, strict=True)
    return sum(len(f"{kind}: {text}".encode("utf-8", "replace")) for kind, text in lines) // BYTES_PER_TOKEN


def cut(items: Sequence[T], size: Callable[[T], int], most: int, tokens: int) -> list[list[T]]:
    """Runs of at most `most` items and `tokens` together; an item that is too large by itself is a run."""
    runs: list[list[T]] = []
    room = 0
    for item in items:
        needs = size(item)
        if not runs or len(runs[-1]) >= most or needs > room:
            runs.append([])
            room = tokens
        runs[-1].append(item)
        room -= needs
    return runs


def packs(traces: Sequence[TraceRow], most: int, tokens: int) -> list[list[TraceRow]]:
    """Traces for one assignment request each: packed in their order, suspicious ones alone and last."""
    trusted, suspicious = apart(traces)
    return cut(trusted, tokens_of, most, tokens) + [[trace] for trace in suspicious]


def apart(traces: Sequence[TraceRow]) -> tuple[list[TraceRow], list[TraceRow]]:
    """(those that only speak to the agent, those that speak to whoever reads the recording)"""
    found: tuple[list[TraceRow], list[TraceRow]] = ([], [])
    for trace in traces:
        found[injection.suspicious(trace.digest_texts)].append(trace)
    return found
