"""Finds closed traces and writes their newest revision.

State lives in ClickHouse only: `trace_activity` says when spans arrived, `traces` says up to which arrival
each trace is assembled; the difference is the work. A killed assembler starts where the tables say, and a
span that arrives late makes a new revision.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracetaxa.assemble.spans import load_spans
from tracetaxa.errors import StoreError
from tracetaxa.records import Digest, Span, Trace, TraceRow, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.protocols import Database

log = logging.getLogger(__name__)

ReadTrace = Callable[["Sequence[Span]"], Trace]
MakeDigest = Callable[[Trace], Digest]
Price = Callable[[Usage], "float | None"]

_OVERLAP_NS = 60 * 10**9
"""Arrival times are taken before an insert is visible: look back this much further than the last tick."""


@dataclass(frozen=True, slots=True)
class ClosingRules:
    """When a trace counts as whole, in seconds; see `AssemblyConfig`."""

    idle_seconds: float = 30.0
    orphan_idle_seconds: float = 120.0
    max_trace_seconds: float = 3600.0

    def parameters(self) -> dict[str, int]:
        return {
            "idle_ms": round(self.idle_seconds * 1000),
            "orphan_idle_ms": round(self.orphan_idle_seconds * 1000),
            "max_trace_ms": round(self.max_trace_seconds * 1000),
        }


class Assembler:
    """`run` ticks until it is stopped; when it returns, everything it began is written."""

    def __init__(
        self,
        db: Database,
        read_trace: ReadTrace,
        digest: MakeDigest,
        price: Price,
        rules: ClosingRules,
        *,
        tick_seconds: float = 1.0,
        batch_traces: int = 500,
        max_text_chars: int = 16_384,
    ) -> None:
        self._db = db
        self._read_trace = read_trace
        self._digest = digest
        self._price = price
        self._rules = rules
        self._tick_seconds = tick_seconds
        self._batch_traces = batch_traces
        self._max_text_chars = max_text_chars
        self._since_ns = 0
        self._expired: dict[str, int] = {}
        """Traces that arrived but whose spans are older than the retention: nothing is left to assemble."""
        self.last_error = ""
        self.assembled = 0
        """Revisions written by this process."""

    async def run(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                await self.tick()
            except StoreError as error:
                self._note(str(error))
            except Exception as error:
                # Whatever it is, the next tick finds the same work again: assembly must not end over it.
                log.debug("assembly broke", exc_info=error)
                self._note(f"unexpected {type(error).__name__}: {error}")
            else:
                self._note("")
            try:
                async with asyncio.timeout(self._tick_seconds):
                    await stopping.wait()
            except TimeoutError:
                continue

    def _note(self, error: str) -> None:
        """Told once, not at every tick."""
        told = f"assembly: {error}" if error else ""
        if told and not self.last_error:
            log.warning("assembly waits: %s", error)
        elif self.last_error and not told:
            log.info("assembly works again")
        self.last_error = told

    async def tick(self) -> int:
        """Assemble every trace that is closed now; returns how many."""
        now_ns = (await self._db.rows("server_time"))[0]["Now"]
        pending = await self._pending()
        closed = [row for row in pending if row["Closed"]]
        for first in range(0, len(closed), self._batch_traces):
            await self._assemble(closed[first : first + self._batch_traces])
        still_open = [row["FirstSeen"] for row in pending if not row["Closed"]]
        self._since_ns = max(self._since_ns, min([now_ns, *still_open]) - _OVERLAP_NS)
        return len(closed)

    async def open_traces(self) -> int:
        """Traces with spans that no revision holds yet."""
        return len(await self._pending())

    async def _pending(self) -> list[dict[str, Any]]:
        rows = await self._db.rows("pending_traces", since_ns=self._since_ns, **self._rules.parameters())
        return [row for row in rows if self._expired.get(row["TraceId"]) != row["LastSeen"]]

    async def _assemble(self, batch: Sequence[Mapping[str, Any]]) -> None:
        spans = await load_spans(self._db, [row["TraceId"] for row in batch])
        self._expired |= {row["TraceId"]: row["LastSeen"] for row in batch if row["TraceId"] not in spans}
        rows = await asyncio.to_thread(self._to_rows, batch, spans)
        await self._db.insert("traces", rows)
        self.assembled += len(rows)

    def _to_rows(
        self, batch: Sequence[Mapping[str, Any]], spans: Mapping[str, Sequence[Span]]
    ) -> list[TraceRow]:
        return [
            self._to_row(self._read_trace(spans[row["TraceId"]]), row["Revision"] + 1, row["LastSeen"])
            for row in batch
            if row["TraceId"] in spans
        ]

    def _to_row(self, trace: Trace, revision: int, last_seen_ns: int) -> TraceRow:
        digest = self._digest(trace)
        return TraceRow(
            trace_id=trace.trace_id,
            revision=revision,
            session_id=trace.session_id,
            user_id=trace.user_id,
            service_name=trace.service_name,
            root_name=trace.root_name,
            start_ns=trace.start_ns,
            end_ns=trace.end_ns,
            duration_ms=(trace.end_ns - trace.start_ns) / 1e6,
            span_count=trace.span_count,
            error_count=trace.error_count,
            status=trace.status,
            is_agent=trace.is_agent,
            llm_calls=trace.llm_calls,
            tool_calls=trace.tool_calls,
            tools=trace.tools,
            models=trace.models,
            last_tool_before_error=trace.last_tool_before_error,
            input_tokens=sum(usage.input_tokens for usage in trace.usage),
            output_tokens=sum(usage.output_tokens for usage in trace.usage),
            cost_usd=self._cost(trace),
            feedback=trace.feedback,
            input=self._cut(trace.input),
            output=self._cut(trace.output),
            attributes=trace.attributes,
            digest_kinds=tuple(line.kind for line in digest.lines),
            digest_texts=tuple(line.text for line in digest.lines),
            digest_span_ids=tuple(line.span_id for line in digest.lines),
            last_seen_ns=last_seen_ns,
        )

    def _cut(self, text: str) -> str:
        return text if len(text) <= self._max_text_chars else f"{text[: self._max_text_chars]}…"

    def _cost(self, trace: Trace) -> float | None:
        """Sum over models; None when no model's price is known, so that unknown is never taken for free."""
        costs = [cost for usage in trace.usage if (cost := self._price(usage)) is not None]
        return sum(costs) if costs else None
