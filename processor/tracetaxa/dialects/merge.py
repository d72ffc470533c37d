"""Readings of spans to one Trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.dialects.attributes import attributes_of
from tracetaxa.dialects.dialect import read_spans
from tracetaxa.dialects.failure import failed, message_of, status_of
from tracetaxa.dialects.gathering import gather
from tracetaxa.dialects.nesting import Nesting
from tracetaxa.dialects.pairing import Execution, to_turns
from tracetaxa.dialects.tree import build_tree
from tracetaxa.records import Span, SpanError, Trace, Turn, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.dialects.reading import SpanReading
    from tracetaxa.dialects.tree import Tree


def read_trace(spans: Sequence[Span]) -> Trace:
    """The trace that these spans make, in any order and with repetitions. O(n log n); raises on no content.

    Counts and tokens come from the innermost spans that know them: agents, workflows and wrappers repeat what
    the model calls inside them say.
    """
    tree = build_tree(spans)
    if not tree.spans:
        return _nothing()
    readings = read_spans(tree.spans)
    nesting = Nesting.of(tree, readings)
    root = tree.spans[tree.root]
    turns, llm_calls, runs = _conversation(tree, readings, nesting)
    # Turns without a time were said before this trace began.
    used = [turn.tool for turn in turns if turn.tool and turn.time_ns]
    errors = [span for span in tree.spans if failed(span)]
    named = [reading for reading in readings if reading.kind != "other"] + readings
    return Trace(
        trace_id=root.trace_id,
        session_id=next((reading.session for reading in named if reading.session), ""),
        user_id=next((reading.user for reading in named if reading.user), ""),
        service_name=root.service_name,
        root_name=root.name,
        root_span_id=root.span_id,
        start_ns=min(span.start_ns for span in tree.spans),
        end_ns=max(span.end_ns for span in tree.spans),
        span_count=len(tree.spans),
        error_count=len(errors),
        status=_status(tree),
        is_agent=any(reading.kind in ("model", "tool", "agent") for reading in readings),
        llm_calls=llm_calls,
        tool_calls=runs or sum(turn.role == "tool" and turn.time_ns > 0 for turn in turns),
        tools=tuple(dict.fromkeys(used)),
        last_tool_before_error=_last_tool_before_error(tree, readings, turns),
        usage=_usage(readings, nesting),
        feedback={name: score for reading in readings for name, score in reading.feedback.items()},
        attributes=attributes_of(root, next((reading.agent for reading in readings if reading.agent), "")),
        turns=turns,
        errors=tuple(SpanError(span.span_id, span.name, message_of(span)) for span in errors),
        content_captured=not llm_calls or any(reading.has_content for reading in readings),
    )


def _conversation(
    tree: Tree, readings: Sequence[SpanReading], nesting: Nesting
) -> tuple[tuple[Turn, ...], int, int]:
    """Turns, number of model calls, number of tool spans."""
    executions: list[Execution] = []
    llm_calls = 0
    for i, (span, reading) in enumerate(zip(tree.spans, readings, strict=True)):
        llm_calls += reading.kind == "model" and not nesting.wraps_model[i]
        if reading.tool is not None and not nesting.repeated_tool[i]:
            executions.append(Execution(span, reading.tool, message_of(span)))
    return to_turns(gather(tree, readings, nesting), executions), llm_calls, len(executions)


def _usage(readings: Sequence[SpanReading], nesting: Nesting) -> tuple[Usage, ...]:
    totals: dict[tuple[str, str], list[int]] = {}
    for i, reading in enumerate(readings):
        called = reading.kind == "model" and not nesting.wraps_model[i] and reading.model
        if called or (reading.has_tokens and not nesting.tokens_inside[i]):
            total = totals.setdefault((reading.model, reading.provider), [0, 0])
            if not nesting.tokens_inside[i]:
                total[0] += reading.input_tokens or 0
                total[1] += reading.output_tokens or 0
    return tuple(Usage(*names, *tokens) for names, tokens in totals.items())


def _status(tree: Tree) -> str:
    """The root's, else the worst."""
    if tree.has_root:
        return status_of(tree.spans[tree.root])
    found = {status_of(span) for span in tree.spans}
    return next(status for status in ("Error", "Unset", "Ok") if status in found)


def _last_tool_before_error(tree: Tree, readings: Sequence[SpanReading], turns: Sequence[Turn]) -> str:
    """The tool that the last error happened in, or the last one that started before it.

    Errors are taken where they arise: spans around them fail with them, later.
    """
    arose = [failed(span) for span in tree.spans]
    for i in reversed(tree.downward):
        parent = tree.parents[i]
        if parent >= 0 and failed(tree.spans[i]):
            arose[parent] = False
    moments = [(span.end_ns, i) for i, span in enumerate(tree.spans) if arose[i]]
    if not moments:
        return ""
    end_ns, i = max(moments)
    run = readings[i].tool
    if run is not None:
        return run.name
    return next((turn.tool for turn in reversed(turns) if turn.tool and turn.time_ns <= end_ns), "")


def _nothing() -> Trace:
    return Trace(
        trace_id="",
        session_id="",
        user_id="",
        service_name="",
        root_name="",
        root_span_id="",
        start_ns=0,
        end_ns=0,
        span_count=0,
        error_count=0,
        status="Unset",
        is_agent=False,
        llm_calls=0,
        tool_calls=0,
        tools=(),
        last_tool_before_error="",
        usage=(),
        feedback={},
        attributes={},
        turns=(),
        errors=(),
        content_captured=True,
    )
