"""Traces whose kinds are known, at two levels: what an analysis should find again.

CLINC150 (Larson et al. 2019): requests of 10 domains with 15 intents each, and some out of every scope; one
request is one trace. The tau runs: 586 agent runs by domain and expected write actions. The demo's shop: by
planted kind and sub-behaviour.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from bench.loaders import real_traffic
from bench.spans import spans_of
from tracetaxa.analyze.digests.digest import digest
from tracetaxa.assemble.rows import ToRow
from tracetaxa.demo.shop import shop_traffic
from tracetaxa.dialects.merge import read_trace
from tracetaxa.records import Trace, TraceRow, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tracetaxa.demo.traffic import PlannedTrace

CLINC = "clinc150"
OUT_OF_SCOPE = "oos"


@dataclass(frozen=True, slots=True)
class Case:
    """One sample of traces with what is true of each."""

    name: str
    seed: int
    rows: list[TraceRow]
    kinds: list[str]
    subkinds: list[str]
    """Distinct below different kinds."""
    levels: int = 2
    max_categories: int = 10
    max_subcategories: int = 8


def planned(name: str, traces: Sequence[PlannedTrace], seed: int = 0) -> Case:
    """Planned traffic as the engine gets it: its spans read and digested as the service does."""
    agent = [trace for trace in traces if trace.truth is not None]
    read = [read_trace(spans_of(trace, f"{i:032x}")) for i, trace in enumerate(agent)]
    truths = [trace.truth for trace in agent if trace.truth is not None]
    kinds, subkinds = [top for top, _ in truths], [f"{top}/{sub}" for top, sub in truths]
    return Case(name, seed, [_row(trace) for trace in read], kinds, subkinds)


def demo(traces: int, seed: int) -> Case:
    return planned("demo", list(shop_traffic(traces, seed=seed).traces()), seed)


def tau(data: Path, most: int) -> Case:
    """The real runs, or every so many-th of them."""
    runs = list(real_traffic(data).traces())
    return planned("tau runs", runs[:: -(-len(runs) // most)])


def clinc_flat(data: Path, seed: int, requests: int, levels: int) -> Case:
    """As many requests of every intent, none out of scope."""
    rng = np.random.default_rng(seed)
    domains, texts = _clinc(data)
    each = max(1, requests // sum(map(len, domains.values())))
    drawn = [
        (domain, intent, text)
        for domain in sorted(domains)
        for intent in sorted(domains[domain])
        for text in rng.permutation(texts[intent]).tolist()[:each]
    ]
    name = "clinc150 flat" if levels == 1 else "clinc150 two-level"
    return _requests(name, seed, drawn, rng, levels)


def clinc_skewed(data: Path, seed: int, requests: int, out_of_scope: float = 0.05, skew: float = 0.8) -> Case:
    """Requests drawn so that the r-th domain, and the r-th intent of a domain, has weight r^-skew."""
    rng = np.random.default_rng(seed)
    domains, texts = _clinc(data)
    weights: dict[tuple[str, str], float] = {}
    for i, domain in enumerate(rng.permutation(sorted(domains)).tolist()):
        for j, intent in enumerate(rng.permutation(sorted(domains[domain])).tolist()):
            weights[domain, intent] = ((i + 1) * (j + 1)) ** -skew
    shares = np.array(list(weights.values())) / sum(weights.values())
    counts = rng.multinomial(round(requests * (1 - out_of_scope)), shares).tolist()
    drawn = [(OUT_OF_SCOPE, OUT_OF_SCOPE, t) for t in rng.permutation(texts[OUT_OF_SCOPE]).tolist()]
    drawn = drawn[: round(requests * out_of_scope)]
    for (domain, intent), count in zip(weights, counts, strict=True):
        drawn += [(domain, intent, text) for text in rng.permutation(texts[intent]).tolist()[:count]]
    return _requests("clinc150 skewed", seed, drawn, rng, 2)


def clinc_splits(data: Path, splits: Sequence[str]) -> Case:
    """All requests of these splits of the source (`train`, `oos_train`, …), in their order."""
    domains: dict[str, list[str]] = json.loads((data / CLINC / "domains.json").read_text())
    domain_of = {intent: domain for domain, intents in domains.items() for intent in intents}
    with gzip.open(data / CLINC / "data_full.json.gz", "rt") as file:
        source: Mapping[str, list[list[str]]] = json.load(file)
    requests = [request for split in splits for request in source[split]]
    return Case(
        "clinc150",
        0,
        [_request(f"{i:032x}", text) for i, (text, _) in enumerate(requests)],
        [domain_of.get(intent, OUT_OF_SCOPE) for _, intent in requests],
        [intent for _, intent in requests],
    )


def _clinc(data: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Intents by domain, requests by intent."""
    domains: dict[str, list[str]] = json.loads((data / CLINC / "domains.json").read_text())
    with gzip.open(data / CLINC / "data_full.json.gz", "rt") as file:
        splits: Mapping[str, list[list[str]]] = json.load(file)
    texts: dict[str, list[str]] = {}
    for split in splits.values():
        for text, intent in split:
            texts.setdefault(intent, []).append(text)
    return domains, texts


def _requests(
    name: str, seed: int, drawn: list[tuple[str, str, str]], rng: np.random.Generator, levels: int
) -> Case:
    chosen = [drawn[i] for i in rng.permutation(len(drawn)).tolist()]
    rows = [_request(f"{i:032x}", text) for i, (*_, text) in enumerate(chosen)]
    return Case(
        name,
        seed,
        rows,
        [domain for domain, *_ in chosen],
        [intent for _, intent, _ in chosen],
        levels=levels,
        max_subcategories=15,
    )


def _request(trace_id: str, text: str) -> TraceRow:
    """A trace in which a user asks once and nobody answers."""
    trace = Trace(
        trace_id=trace_id,
        session_id="",
        user_id="",
        service_name="assistant",
        root_name="request",
        root_span_id="s",
        start_ns=0,
        end_ns=0,
        span_count=1,
        error_count=0,
        status="Unset",
        is_agent=True,
        llm_calls=0,
        tool_calls=0,
        tools=(),
        last_tool_before_error="",
        usage=(),
        feedback=(),
        carried=(),
        attributes={},
        turns=(Turn("user", text, "s", 1),),
        errors=(),
        content_captured=True,
        dialects=(),
        instrumentations=(),
    )
    return _row(trace)


_TO_ROW = ToRow(partial(digest, max_tokens=400), lambda usage: None)


def row_of(trace: Trace) -> TraceRow:
    """As the service would write it."""
    return _row(trace)


def _row(trace: Trace) -> TraceRow:
    return _TO_ROW(trace, 1, 0)
