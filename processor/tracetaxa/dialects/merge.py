"""Readings of spans to one Trace."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from tracetaxa.dialects.attributes import attributes_of
from tracetaxa.dialects.dialect import read_spans
from tracetaxa.dialects.failure import failed, message_of, status_of
from tracetaxa.dialects.gathering import gather
from tracetaxa.dialects.generic import Generic
from tracetaxa.dialects.judging import judge
from tracetaxa.dialects.logs import with_logs
from tracetaxa.dialects.nesting import Nesting
from tracetaxa.dialects.pairing import Execution, to_turns
from tracetaxa.dialects.reading import ToolRun
from tracetaxa.dialects.tree import build_tree
from tracetaxa.dialects.values import well_formed
from tracetaxa.records import ROOT, Span, SpanError, Trace, Turn, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.dialects.reading import SpanReading
    from tracetaxa.dialects.tree import Tree
    from tracetaxa.records import Feedback, LogRecord


def read_trace(
    spans: Sequence[Span], logs: Sequence[LogRecord] = (), feedback: Sequence[Feedback] = ()
) -> Trace:
    """The trace that these spans make, in any order and with repetitions. O(n log n); raises on no content.

    Counts and tokens come from the innermost spans that know them: agents, workflows and wrappers repeat what
    the model calls inside them say. `logs` are log records of the trace, `feedback` came beside its spans.
    """
    return _read(spans, logs, feedback)


def read_session(
    spans: Sequence[Span], logs: Sequence[LogRecord] = (), feedback: Sequence[Feedback] = ()
) -> Trace:
    """The conversation that the traces of one session make together; its trace id is that of the first.

    History that a later trace repeats is told once. The status is Error when any of the traces ended so.
    """
    session = _read(spans, logs, feedback)
    if any(not span.parent_span_id and failed(span) for span in spans):
        return replace(session, status="Error")
    return session


def _read(spans: Sequence[Span], logs: Sequence[LogRecord], feedback: Sequence[Feedback]) -> Trace:
    tree = build_tree(_ended(spans))
    if not tree.spans:
        return _nothing()
    told = with_logs(tree, logs)
    readings, names = read_spans(told)
    nesting = Nesting.of(tree, readings)
    root = tree.spans[tree.root]
    turns, llm_calls, runs = _conversation(tree, readings, nesting)
    # Turns without a time were said before this trace began.
    used = [turn.tool for turn in turns if turn.role == "tool" and turn.tool and turn.time_ns]
    errors = [span for span in tree.spans if failed(span)]
    named = [reading for reading in readings if reading.kind != "other"] + readings
    own, carried = judge(told, readings, feedback)
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
        feedback=own,
        carried=carried,
        attributes=attributes_of(
            root,
            next((reading.agent for reading in readings if reading.agent), ""),
            next((span for span, r in zip(tree.spans, readings, strict=True) if r.kind != "other"), None),
        )
        | ({} if _rooted(tree) else {ROOT: "missing"}),
        turns=turns,
        errors=tuple(SpanError(span.span_id, span.name, message_of(span)) for span in errors),
        content_captured=not llm_calls or any(reading.has_content for reading in readings),
        dialects=_spoken(names),
        instrumentations=_instrumentations(tree.spans, readings),
    )


def _ended(spans: Sequence[Span]) -> Sequence[Span]:
    """Without the placeholders that Logfire sends when a span starts, but for one that never ended."""
    if not any("logfire.span_type" in span.attributes for span in spans):
        return spans
    ended = [span for span in spans if span.attributes.get("logfire.span_type") != "pending_span"]
    return ended or spans


def _conversation(
    tree: Tree, readings: Sequence[SpanReading], nesting: Nesting
) -> tuple[tuple[Turn, ...], int, int]:
    """Turns, number of model calls, number of tool spans."""
    runs: dict[int, ToolRun] = {}
    executions: list[Execution] = []
    llm_calls = 0
    for i, (span, reading) in enumerate(zip(tree.spans, readings, strict=True)):
        llm_calls += reading.kind == "model" and not nesting.wraps_model[i]
        if reading.tool is not None and reading.kind == "tool":
            outer = nesting.repeats[i]
            runs[i if outer < 0 else outer] = (
                reading.tool if outer < 0 else runs.get(outer, reading.tool).filled(reading.tool)
            )
        elif reading.retrieval is not None and not nesting.in_tool[i]:
            found = reading.retrieval
            search = ToolRun("", found.name, found.query, found.documents, failed(span))
            executions.append(Execution(span, search, message_of(span), "retrieval"))
    executions += [Execution(tree.spans[i], run, message_of(tree.spans[i])) for i, run in runs.items()]
    executions.sort(key=lambda execution: execution.span.start_ns)
    steps = gather(tree, readings, nesting)
    count = len(runs)
    if not runs and not any(step.call for step in steps):
        calls = _calls_of_other_systems(tree, readings)
        executions = sorted([*executions, *calls], key=lambda execution: execution.span.start_ns)
        count = len(calls)
    return to_turns(steps, executions), llm_calls, count


def _calls_of_other_systems(tree: Tree, readings: Sequence[SpanReading]) -> list[Execution]:
    """HTTP, database and queue spans, but for those that are a model call's or another such call's own."""
    inside = [False] * len(readings)
    calls = []
    for i in tree.downward:
        parent, run = tree.parents[i], readings[i].tool
        if parent >= 0:
            inside[i] = inside[parent] or readings[parent].kind in ("model", "retrieval")
        if run is not None and readings[i].kind == "other" and not inside[i]:
            calls.append(Execution(tree.spans[i], run, message_of(tree.spans[i])))
            inside[i] = True
    return calls


def _usage(readings: Sequence[SpanReading], nesting: Nesting) -> tuple[Usage, ...]:
    """Of each innermost span that knows tokens, and of each model call."""
    calls = []
    for i, reading in enumerate(readings):
        called = reading.kind == "model" and not nesting.wraps_model[i] and reading.model
        counted = not nesting.tokens_inside[i]
        if called or (reading.has_tokens and counted):
            calls.append(
                Usage(
                    model=reading.model,
                    provider=reading.provider,
                    input_tokens=(reading.input_tokens or 0) if counted else 0,
                    output_tokens=(reading.output_tokens or 0) if counted else 0,
                    cache_read_tokens=(reading.cache_read_tokens or 0) if counted else 0,
                    cache_write_tokens=(reading.cache_write_tokens or 0) if counted else 0,
                    stated_usd=reading.cost_usd if counted else None,
                )
            )
    return tuple(calls)


def _spoken(names: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The most spoken first; plain spans are named only where they are all that there is."""
    spans = Counter(name for together in names for name in together)
    spoken = [name for name, _ in spans.most_common() if name != Generic.name]
    return tuple(spoken) or tuple(spans)


def _instrumentations(spans: Sequence[Span], readings: Sequence[SpanReading]) -> tuple[str, ...]:
    scopes = {
        (span.scope_name, span.scope_version): None
        for span, reading in zip(spans, readings, strict=True)
        if reading.kind != "other" and span.scope_name
    }
    return tuple(well_formed(f"{name} {version}".rstrip()) for name, version in scopes)


def _rooted(tree: Tree) -> bool:
    """Whether the root of each trace is there: senders sample, crash, or report elsewhere."""
    rooted = {span.trace_id for span in tree.spans if not span.parent_span_id}
    return all(span.trace_id in rooted for span in tree.spans)


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
    if run is not None and (readings[i].kind == "tool" or run.name in {turn.tool for turn in turns}):
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
        feedback=(),
        carried=(),
        attributes={},
        turns=(),
        errors=(),
        content_captured=True,
        dialects=(),
        instrumentations=(),
    )
