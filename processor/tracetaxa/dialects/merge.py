"""Readings of spans to one Trace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa.dialects.attributes import attributes_of
from tracetaxa.dialects.conversation import ConversationBuilder
from tracetaxa.dialects.dialect import read_spans
from tracetaxa.dialects.failure import failed, message_of, status_of
from tracetaxa.dialects.pairing import Execution, to_turns
from tracetaxa.dialects.tree import build_tree
from tracetaxa.records import Span, SpanError, Trace, Turn, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
    nesting = _Nesting.of(tree, readings)
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


@dataclass(frozen=True, slots=True)
class _Nesting:
    """Facts about spans that depend on the spans around them, by span index."""

    tokens_inside: list[bool]
    content_inside: list[bool]
    wraps_model: list[bool]
    repeated_tool: list[bool]
    delegated: list[bool]

    @classmethod
    def of(cls, tree: Tree, readings: Sequence[SpanReading]) -> _Nesting:
        n = len(readings)
        tokens = _inside(tree, readings, lambda reading: reading.has_tokens and reading.kind != "retrieval")
        content = _inside(tree, readings, lambda reading: reading.has_content)
        models = _inside(tree, readings, lambda reading: reading.kind == "model")
        enclosing = [-1] * n
        """The nearest agent or tool span above."""
        repeated = [False] * n
        for i in tree.downward:
            parent = tree.parents[i]
            if parent >= 0:
                enclosing[i] = parent if readings[parent].kind in ("agent", "tool") else enclosing[parent]
            around, run = enclosing[i], readings[i].tool
            above = readings[around].tool if around >= 0 else None
            repeated[i] = run is not None and above is not None and run.name == above.name
        return cls(tokens, content, models, repeated, _delegated(tree, readings, enclosing))


def _inside(tree: Tree, readings: Sequence[SpanReading], has: Callable[[SpanReading], bool]) -> list[bool]:
    """Whether spans inside have it. A model call doesn't answer for the tools that run inside it."""
    inside = [False] * len(readings)
    for i in reversed(tree.downward):
        parent = tree.parents[i]
        if parent < 0 or not (inside[i] or has(readings[i])):
            continue
        if readings[parent].kind != "model" or readings[i].kind not in ("tool", "agent"):
            inside[parent] = True
    return inside


def _delegated(tree: Tree, readings: Sequence[SpanReading], enclosing: Sequence[int]) -> list[bool]:
    """Whether the "user" of a model call is an agent: for a sub-agent's task, or a prompt that a tool makes.

    So it is inside an agent or tool that an outer agent started after it had called a model itself.
    """
    first_call: dict[int, int] = {}
    for i, reading in enumerate(readings):
        if reading.kind == "model":
            first_call.setdefault(enclosing[i], tree.spans[i].start_ns)
    delegated = [False] * len(readings)
    for i in tree.downward:
        around = enclosing[i]
        if around < 0:
            continue
        outer = enclosing[around]
        asked = first_call.get(outer) if outer >= 0 or readings[around].kind == "tool" else None
        delegated[i] = delegated[around] or (asked is not None and asked < tree.spans[around].start_ns)
    return delegated


def _conversation(
    tree: Tree, readings: Sequence[SpanReading], nesting: _Nesting
) -> tuple[tuple[Turn, ...], int, int]:
    """Turns, number of model calls, number of tool spans."""
    conversation = ConversationBuilder()
    executions: list[Execution] = []
    llm_calls = 0
    for i, (span, reading) in enumerate(zip(tree.spans, readings, strict=True)):
        llm_calls += reading.kind == "model" and not nesting.wraps_model[i]
        if reading.has_content and not nesting.content_inside[i]:
            conversation.add(span, reading, delegated=nesting.delegated[i])
        if reading.tool is not None and not nesting.repeated_tool[i]:
            executions.append(Execution(span, reading.tool, message_of(span)))
    return to_turns(conversation.steps, executions), llm_calls, len(executions)


def _usage(readings: Sequence[SpanReading], nesting: _Nesting) -> tuple[Usage, ...]:
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
