"""What it costs to read spans: `python -m bench dialects`.

The real runs and the demo's traffic (GenAI conventions), each capture of `tests/data/instrumentations` (its
own dialect), and trees of 10,000 spans: a chain, a fan and a bush. Microseconds of CPU a span, the median of
several rounds.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from tests.captures import NAMES, by_trace, capture

from bench.loaders import available, real_traffic
from bench.spans import spans_of
from tracetaxa.demo.shop import shop_traffic
from tracetaxa.dialects import read_trace
from tracetaxa.records import Span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tracetaxa.demo.traffic import Traffic
    from tracetaxa.records import LogRecord

Group = tuple["list[Span]", "list[LogRecord]"]
TREE_SPANS = 10_000
_SECOND = 10**9


def bench(data: Path, rounds: int) -> dict[str, Any]:
    result: dict[str, Any] = {"us_per_span": {}, "tree_seconds": {}}
    for name, groups in _traffic(data).items():
        result["us_per_span"][name] = _microseconds(groups, rounds)
    for name, parent_of in TREES.items():
        spans = tree(parent_of)
        result["tree_seconds"][name] = statistics.median(_seconds([(spans, [])]) for _ in range(rounds))
    return result


def report(result: dict[str, Any]) -> str:
    lines = [f"{value:7.1f} µs/span  {name}" for name, value in result["us_per_span"].items()]
    lines += [
        f"{value:7.3f} s        {TREE_SPANS:,} spans, {name}"
        for name, value in result["tree_seconds"].items()
    ]
    return "\n".join(lines)


def _traffic(data: Path) -> dict[str, list[Group]]:
    found: dict[str, list[Group]] = {}
    if available(data):
        found["real runs"] = _planned(real_traffic(data))
    found["demo"] = _planned(shop_traffic(300, seed=0))
    for name in NAMES:
        spans, logs = capture(name)
        found[name] = [
            (group, [record for record in logs if record.trace_id == trace_id])
            for trace_id, group in by_trace(spans).items()
        ]
    return {name: groups for name, groups in found.items() if groups}


def _planned(traffic: Traffic) -> list[Group]:
    agents = (trace for trace in traffic.traces() if trace.truth is not None)
    return [(spans_of(trace, f"{i:032x}"), []) for i, trace in enumerate(agents)]


def _microseconds(groups: Sequence[Group], rounds: int) -> float:
    spans = sum(len(group) for group, _ in groups)
    repeat = max(1, 2000 // spans)
    return statistics.median(_seconds(groups, repeat) / repeat / spans * 1e6 for _ in range(rounds))


def _seconds(groups: Sequence[Group], repeat: int = 1) -> float:
    start = time.process_time()
    for _ in range(repeat):
        for spans, logs in groups:
            read_trace(spans, logs)
    return time.process_time() - start


TREES: dict[str, Callable[[int], int]] = {
    "a chain": lambda i: i - 1,
    "a fan": lambda i: 0 if i else -1,
    "a bush": lambda i: (i - 1) // 3 if i else -1,
}


def tree(parent_of: Callable[[int], int], size: int = TREE_SPANS) -> list[Span]:
    """One agent trace: model calls that carry the last messages of a long history, tools, plain spans."""
    spans = []
    for i in range(size):
        parent = parent_of(i)
        kind = ("chat", "execute_tool", "other")[i % 3] if i else "invoke_agent"
        spans.append(
            Span(
                trace_id="a" * 32,
                span_id=f"{i + 1:016x}",
                parent_span_id=f"{parent + 1:016x}" if parent >= 0 else "",
                name=kind,
                kind="Internal",
                service_name="bench",
                start_ns=i * _SECOND,
                duration_ns=_SECOND if i else size * _SECOND,
                status="Unset",
                attributes=_attributes(kind, i),
            )
        )
    return spans


def _attributes(kind: str, i: int) -> dict[str, str]:
    if kind == "other":
        return {"http.route": f"/orders/{i}"}
    attributes = {"gen_ai.operation.name": kind}
    if kind == "chat":
        said = [f'{{"role":"user","parts":[{{"type":"text","content":"turn {n}"}}]}}' for n in (i - 3, i)]
        attributes |= {
            "gen_ai.request.model": "m",
            "gen_ai.usage.input_tokens": "10",
            "gen_ai.input.messages": f"[{','.join(said)}]",
            "gen_ai.output.messages": f'[{{"role":"assistant","content":"answer {i}"}}]',
        }
    if kind == "execute_tool":
        attributes |= {"gen_ai.tool.name": "f", "gen_ai.tool.call.arguments": f'{{"n":{i}}}'}
    return attributes
