"""A canonical Trace → its row: digested, priced, with long texts cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tracetaxa.records import Digest, Trace, TraceRow, Usage

MakeDigest = Callable[[Trace], Digest]
Price = Callable[[Usage], "float | None"]
Shorten = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class ToRow:
    """Makes the rows of `traces`; what it holds is the same for all of them."""

    digest: MakeDigest
    price: Price
    shorten: Shorten = str
    """How much of Input and Output is kept; all, unless said otherwise."""

    def __call__(self, trace: Trace, revision: int, last_seen_ns: int) -> TraceRow:
        digest = self.digest(trace)
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
            cost_usd=cost_of(trace, self.price),
            feedback=trace.scores,
            input=self.shorten(trace.input),
            output=self.shorten(trace.output),
            attributes=trace.attributes,
            digest_kinds=tuple(line.kind for line in digest.lines),
            digest_texts=tuple(line.text for line in digest.lines),
            digest_span_ids=tuple(line.span_id for line in digest.lines),
            last_seen_ns=last_seen_ns,
        )


def cost_of(trace: Trace, price: Price) -> float | None:
    """US dollars: the sum over model calls; None when no price is known, since unknown is not free."""
    costs = [cost for usage in trace.usage if (cost := price(usage)) is not None]
    return sum(costs) if costs else None
