"""Labels that came after their traces were forwarded, as carrier spans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.forward.carrier import Root, carrier
from tracetaxa.forward.deliveries import Delivery, Event, load_earlier
from tracetaxa.forward.labels import load_labels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracetaxa.forward.deliveries import Earlier
    from tracetaxa.forward.due import DueLabels
    from tracetaxa.forward.labels import Label
    from tracetaxa.forward.mark import Mark
    from tracetaxa.forward.rules import Rules
    from tracetaxa.forward.sending import Outgoing, Sender
    from tracetaxa.protocols import Database


class LabelForwarder:
    """`forward` returns when the labels that count of the traces that it was given are at the destination.

    Labels of traces that were never forwarded stay here, unless spans are not forwarded at all.
    """

    def __init__(self, db: Database, sender: Sender, rules: Rules, mark: Mark) -> None:
        self._db = db
        self._sender = sender
        self._rules = rules
        self._mark = mark

    async def forward(self, due: Sequence[DueLabels]) -> None:
        """Raises StoreError, ExportFailed and ExportRefused; what was delivered until then is recorded."""
        ids = [trace.trace_id for trace in due]
        earlier = await load_earlier(self._db, self._rules.destination, ids)
        there = ids if not self._rules.spooled else [i for i in ids if i in earlier and earlier[i].span_ids]
        labels = await load_labels(self._db, there) if there else {}
        # They come again when their runs are done.
        due = [t for t in due if all(label.is_final for label in labels.get(t.trace_id, ()))]
        roots = await self._roots([i for i in there if i in labels])
        new = {
            trace_id: [label for label in labels[trace_id] if not _knows(earlier, label)]
            for trace_id in there
            if trace_id in roots
        }
        for traces in self._batches(due, new, roots):
            await self._deliver(traces)

    def _batches(
        self, due: Sequence[DueLabels], new: dict[str, list[Label]], roots: dict[str, Root]
    ) -> Iterator[list[tuple[DueLabels, list[Label], list[Outgoing]]]]:
        batch: list[tuple[DueLabels, list[Label], list[Outgoing]]] = []
        size = 0
        for trace in due:
            labels = new.get(trace.trace_id, [])
            spans = [carrier(label, roots[trace.trace_id], self._mark.instance) for label in labels]
            grown = sum(len(span) for _, _, span in spans)
            if batch and size + grown > self._rules.max_batch_bytes:
                yield batch
                batch, size = [], 0
            batch.append((trace, labels, spans))
            size += grown
        if batch:
            yield batch

    async def _deliver(self, traces: Sequence[tuple[DueLabels, list[Label], list[Outgoing]]]) -> None:
        spans = [span for _, _, of_trace in traces for span in of_trace]
        if spans:
            refused = await self._sender.send(spans)
            self._sender.counts.carriers += len(spans) - len(refused)
        destination = self._rules.destination
        sent = [(trace, tuple(label.identity for label in labels)) for trace, labels, _ in traces]
        await self._db.insert(
            "forward_deliveries",
            [
                Delivery(destination, trace.trace_id, trace.revision, "sent", (), labels)
                for trace, labels in sent
                if labels
            ],
        )
        # What does not count, or was there already, is done with too.
        await self._db.insert(
            "forward_events",
            [
                Event(
                    "delivered",
                    destination,
                    self._mark.instance,
                    trace.trace_id,
                    trace.revision,
                    0,
                    tuple({*trace.labels, *labels}),
                )
                for trace, labels in sent
            ],
        )

    async def _roots(self, ids: Sequence[str]) -> dict[str, Root]:
        """Of traces whose spans are still stored."""
        if not ids:
            return {}
        (times,) = await self._db.rows("assembly/times_of_traces", trace_ids=list(ids))
        if not times["Known"]:
            return {}
        rows = await self._db.rows(
            "forward/roots",
            trace_ids=list(ids),
            first_second=times["FirstSecond"],
            last_second=times["LastSecond"],
        )
        return {row["TraceId"]: Root(bytes.fromhex(row["RootSpanId"]), row["EndNs"]) for row in rows}


def _knows(earlier: dict[str, Earlier], label: Label) -> bool:
    return label.trace_id in earlier and label.identity in earlier[label.trace_id].labels
