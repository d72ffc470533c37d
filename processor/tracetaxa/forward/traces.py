"""Due traces from the spool to the destination, with their labels on them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from tracetaxa.forward.deliveries import Delivery, Event, load_earlier
from tracetaxa.forward.labels import label_attributes, load_labels
from tracetaxa.forward.mark import MARK, Mark
from tracetaxa.forward.parcels import Parcel, Part, Spooled, plan
from tracetaxa_exporter.otlp import Stamp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.forward.due import Due
    from tracetaxa.forward.labels import Label
    from tracetaxa.forward.rules import Rules
    from tracetaxa.forward.sending import Outgoing, Sender
    from tracetaxa.protocols import Database
    from tracetaxa_exporter.otlp.stamp import Value


class TraceForwarder:
    """`forward` returns when all that it was given is at the destination and recorded.

    began_ns: what was closed before may have been delivered by a process that died before it recorded that.
    """

    def __init__(
        self,
        db: Database,
        sender: Sender,
        rules: Rules,
        mark: Mark,
        stopping: asyncio.Event,
        began_ns: int,
    ) -> None:
        self._db = db
        self._sender = sender
        self._rules = rules
        self._mark = mark
        self._stopping = stopping
        self._began_ns = began_ns
        self._room = asyncio.Semaphore(rules.consumers)

    async def forward(self, due: Sequence[Due]) -> None:
        """Raises StoreError, ExportFailed and ExportRefused; what was delivered until then is recorded."""
        ids = [trace.trace_id for trace in due]
        again = [t.trace_id for t in due if t.revision != 1 or t.waits_since_ns < self._began_ns]
        labels = await load_labels(self._db, [t.trace_id for t in due if t.may_have_labels])
        earlier = await load_earlier(self._db, self._rules.destination, again)
        spooled = await self._spooled(ids)
        stamps = _Stamps(self._mark, labels)

        def added(trace: Due, is_entry: bool) -> int:
            return stamps.size(trace.trace_id if is_entry or self._rules.spans == "all" else "")

        parcels = plan(due, spooled, earlier, self._rules.max_batch_bytes, added)
        tasks = [asyncio.create_task(self._in_turn(turn, stamps)) for turn in parcels]
        try:
            await asyncio.gather(*tasks)
        finally:
            # Those under way end well where the destination is there: nothing of theirs is sent again.
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _spooled(self, ids: Sequence[str]) -> dict[str, list[Spooled]]:
        found: dict[str, list[Spooled]] = defaultdict(list)
        for row in await self._db.rows("forward/spool_index", trace_ids=list(ids)):
            found[row["TraceId"]].append(Spooled(row["SpanId"], row["ParentSpanId"], row["Bytes"]))
        return found

    async def _in_turn(self, parcels: Sequence[Parcel], stamps: _Stamps) -> None:
        async with self._room:
            for parcel in parcels:
                if self._stopping.is_set() or self._sender.failing:
                    return  # the next tick finds it again
                await self._deliver(parcel, stamps)

    async def _deliver(self, parcel: Parcel, stamps: _Stamps) -> None:
        spans, origins = await self._read(parcel, stamps)
        refused = {origins[position] for position in await self._sender.send(spans)} if spans else set()
        went: dict[str, set[bytes]] = defaultdict(set)
        for trace_id, span_id in origins:
            went[trace_id].add(span_id)
        rows = []
        for part in parcel.parts:
            trace_id = part.due.trace_id
            stamped = stamps.labels(trace_id)
            lost = tuple(sorted(i for i in went[trace_id] if (trace_id, i) in refused))
            sent = tuple(sorted(went[trace_id] - set(lost)))
            where = (self._rules.destination, trace_id, part.due.revision)
            if sent:
                rows.append(Delivery(*where, "sent", sent, stamped))
            if lost:
                rows.append(Delivery(*where, "refused", lost, stamped))
        await self._db.insert("forward_deliveries", rows)
        await self._db.insert("forward_events", [self._event(p, stamps) for p in parcel.parts if p.last])

    def _event(self, part: Part, stamps: _Stamps) -> Event:
        due = part.due
        return Event(
            "delivered",
            self._rules.destination,
            self._mark.instance,
            due.trace_id,
            due.revision,
            due.closed_ns,
            # Of a trace of which no span went it is the carriers' turn.
            stamps.labels(due.trace_id) if part.span_ids else (),
        )

    async def _read(self, parcel: Parcel, stamps: _Stamps) -> tuple[list[Outgoing], list[tuple[str, bytes]]]:
        """Stamped spans, and (trace id, span id) of each."""
        parts = {part.due.trace_id: part for part in parcel.parts if part.span_ids}
        if not parts:
            return [], []
        rows = await self._db.raw_rows(
            "forward/spool_spans",
            trace_ids=list(parts),
            first_span=parcel.first_id.hex(),
            last_span=parcel.last_id.hex(),
        )
        spans, origins = [], []
        for row in rows:
            trace_id, span_id = row["TraceId"].decode(), row["SpanId"]
            part = parts[trace_id]
            if span_id in part.span_ids:
                labelled = self._rules.spans == "all" or span_id in part.entries
                span = stamps.stamped(row["Span"], trace_id if labelled else "")
                spans.append((row["Resource"], row["Scope"], span))
                origins.append((trace_id, span_id))
        return spans, origins


class _Stamps:
    """What goes on spans: the mark, and the labels of their trace."""

    def __init__(self, mark: Mark, labels: Mapping[str, Sequence[Label]]) -> None:
        self._mark = mark
        self._labels = labels
        self._stamps: dict[str, Stamp] = {}

    def labels(self, trace_id: str) -> tuple[int, ...]:
        """The identities of its labels."""
        return tuple(label.identity for label in self._labels.get(trace_id, ()))

    def size(self, trace_id: str) -> int:
        """Bytes that a span grows by that gets the labels of this trace, or none."""
        return len(self._stamp(trace_id).added)

    def stamped(self, span: bytes, trace_id: str) -> bytes:
        """trace_id: whose labels it gets, none when empty."""
        if MARK.encode() in span:  # forwarded by another deployment, as a rule
            return Stamp(self._attributes(trace_id, self._mark.after(span)))(span)
        return self._stamp(trace_id)(span)

    def _stamp(self, trace_id: str) -> Stamp:
        trace_id = trace_id if trace_id in self._labels else ""
        stamp = self._stamps.get(trace_id)
        if stamp is None:
            stamp = self._stamps[trace_id] = Stamp(self._attributes(trace_id, self._mark.instance))
        return stamp

    def _attributes(self, trace_id: str, mark: str) -> dict[str, Value]:
        attributes: dict[str, Value] = {MARK: mark}
        for label in self._labels.get(trace_id, ()):
            attributes |= label_attributes(label)
        return attributes
