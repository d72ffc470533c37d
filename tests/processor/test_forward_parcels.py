"""Requests are planned so that each span goes once, within the limit, and whole traces stay together."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tracetaxa.forward.deliveries import Earlier
from tracetaxa.forward.due import Due
from tracetaxa.forward.parcels import Spooled, entry_spans, plan

LIMIT = 1000


def spooled(number: int, parent: int, size: int) -> Spooled:
    return Spooled(number.to_bytes(8), parent.to_bytes(8), size)


spans = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 60), st.integers(0, 1500)),
    max_size=25,
    unique_by=lambda s: s[0],
)


@given(st.lists(st.tuples(spans, st.sets(st.integers(1, 60), max_size=10)), max_size=12), st.integers(0, 200))
def test_every_span_goes_once_within_the_limit(
    traces: list[tuple[list[tuple[int, int, int]], set[int]]], grown: int
) -> None:
    due = [Due(f"{n:032x}", 1, 0, 0) for n in range(len(traces))]
    found = {d.trace_id: [spooled(*s) for s in t] for d, (t, _) in zip(due, traces, strict=True)}
    earlier = {
        d.trace_id: Earlier(frozenset(i.to_bytes(8) for i in there))
        for d, (_, there) in zip(due, traces, strict=True)
        if there
    }
    turns = list(plan(due, found, earlier, LIMIT, lambda trace, is_entry: grown * is_entry))
    sent = Counter(
        (part.due.trace_id, span)
        for turn in turns
        for parcel in turn
        for part in parcel.parts
        for span in part.span_ids
    )
    wanted = {
        (d.trace_id, s.span_id)
        for d in due
        for s in found[d.trace_id]
        if d.trace_id not in earlier or s.span_id not in earlier[d.trace_id].span_ids
    }
    assert sent == Counter(wanted)
    # Each trace is done with once, in the last parcel that holds a part of it.
    ends = [part.due.trace_id for turn in turns for parcel in turn for part in parcel.parts if part.last]
    assert sorted(ends) == sorted(d.trace_id for d in due)
    sizes = {(t, s.span_id): s.size_bytes for t, of_trace in found.items() for s in of_trace}
    for turn in turns:
        for parcel in turn:
            together = [(p.due.trace_id, i, i in p.entries) for p in parcel.parts for i in p.span_ids]
            assert all(parcel.first_id <= i <= parcel.last_id for _, i, _ in together)
            total = sum(sizes[t, i] + grown * is_entry for t, i, is_entry in together)
            assert total <= LIMIT or len(together) == 1
            if len(turn) > 1:
                assert len(parcel.parts) == 1


@given(spans)
def test_some_span_stands_for_each_trace(made: list[tuple[int, int, int]]) -> None:
    of_trace = [spooled(*s) for s in made]
    entries = entry_spans(of_trace, late=False)
    roots = {s.span_id for s in of_trace if not any(s.parent_span_id)}
    if roots:
        assert entries == roots
    ids = {s.span_id for s in of_trace}
    assert bool(entries) == bool(ids)
    assert entry_spans(of_trace, late=True) == ids


def test_a_circle_of_parents_has_an_entry_and_a_lost_root_several() -> None:
    assert entry_spans([spooled(1, 2, 9), spooled(2, 1, 9)], late=False) == {(1).to_bytes(8)}
    ends = entry_spans([spooled(1, 7, 9), spooled(2, 1, 9), spooled(3, 8, 9)], late=False)
    assert ends == {(1).to_bytes(8), (3).to_bytes(8)}
