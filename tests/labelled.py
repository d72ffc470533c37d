"""Traces of kinds that words and outcomes tell apart, with their labels, for tests of what learns from them."""

from __future__ import annotations

import random
from dataclasses import dataclass

from factories import trace_row
from tracetaxa.records import OTHER, Assignment, Category, Taxonomy, TraceRow

TOPICS = {
    ("refunds", "late"): "refund late waiting weeks money still missing",
    ("refunds", "wrong"): "refund wrong amount charged twice money short",
    ("deliveries", "lost"): "parcel lost courier tracking says delivered nowhere",
    ("deliveries", "damaged"): "parcel damaged box broken courier dropped",
    ("accounts", "password"): "password reset login locked account email",
    ("accounts", "closing"): "close account delete profile leave data",
}
_FILLER = "hello please can you help me with my thing today i would like to know what is going on thanks"
TAXONOMY = Taxonomy(
    (
        *(Category(kind, kind.title(), "") for kind in dict.fromkeys(kind for kind, _ in TOPICS)),
        Category(OTHER, "Other", ""),
        *(Category(sub, sub.title(), "", kind) for kind, sub in TOPICS),
    )
)


@dataclass(frozen=True)
class Labelled:
    traces: list[TraceRow]
    labels: list[Assignment]


def labelled(count: int, seed: int = 0, *, noise: float = 0.0) -> Labelled:
    """As many traces of each kind as of the others; a share `noise` of the labels is of another kind."""
    rng = random.Random(seed)
    pairs = list(TOPICS)
    traces, labels = [], []
    for i in range(count):
        kind, sub = pairs[i % len(pairs)]
        trace_id = f"{seed:04x}{i:028x}"
        traces.append(trace_row(trace_id, request=request(kind, sub, rng), tools=(), output=""))
        if rng.random() < noise:
            kind, sub = rng.choice([pair for pair in pairs if pair[0] != kind])
        labels.append(Assignment(trace_id, kind, sub, 0.9))
    return Labelled(traces, labels)


def request(kind: str, sub: str, rng: random.Random) -> str:
    """Three words that tell the kind, among five that tell nothing."""
    words = rng.sample(TOPICS[kind, sub].split(), 3) + rng.sample(_FILLER.split(), 5)
    rng.shuffle(words)
    return " ".join(words)
