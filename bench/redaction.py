"""What redaction costs on digests of real agent runs, with built-in kinds alone and with own patterns."""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.loaders import real_traffic
from bench.spans import spans_of
from tracetaxa.analyze.digests.digest import digest
from tracetaxa.analyze.redaction.redact import CustomPattern, Redactor
from tracetaxa.dialects.merge import read_trace

if TYPE_CHECKING:
    from pathlib import Path

OWN = [CustomPattern(f"own_{letter}", rf"\b{letter}-\d{{6}}\b") for letter in "ABCDE"]


def bench(data: Path, rounds: int) -> dict[str, Any]:
    """Processor time of `rounds` over all digests, each with nothing remembered."""
    planned = enumerate(real_traffic(data).traces())
    digests = [digest(read_trace(spans_of(trace, f"{i:032x}"))) for i, trace in planned]
    texts = [[line.text for line in found.lines] for found in digests]
    size = sum(len(text) for lines in texts for text in lines)
    return {
        "digests": len(texts),
        "megabytes": round(size / 1e6, 2),
        "built_in": _measure(texts, (), rounds, size),
        "with_five_own": _measure(texts, OWN, rounds, size),
    }


def _measure(
    texts: list[list[str]], own: list[CustomPattern] | tuple[()], rounds: int, size: int
) -> dict[str, float]:
    took = []
    for _ in range(rounds):
        redactor = Redactor(patterns=own)
        started = time.process_time()
        for lines in texts:
            for text in lines:
                redactor.text(text)
        took.append(time.process_time() - started)
    seconds = median(took)
    return {
        "ms_per_digest": round(seconds / len(texts) * 1000, 3),
        "mb_per_s": round(size / 1e6 / seconds, 2),
    }


def report(result: dict[str, Any]) -> str:
    lines = [f"{result['digests']} digests, {result['megabytes']} MB of text"]
    for name, told in (("built_in", "built-in kinds"), ("with_five_own", "and five patterns of one's own")):
        figures = result[name]
        lines.append(f"  {told:32}{figures['ms_per_digest']:.2f} ms a digest, {figures['mb_per_s']:.1f} MB/s")
    return "\n".join(lines)
