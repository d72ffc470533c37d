"""One trace for a reader: what happened, in order, and which labels it carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from tracetaxa.report import format as fmt
from tracetaxa.report.plain import one_line, plain
from tracetaxa.report.quote import clip
from tracetaxa.report.terminal import facts, heading, indented, line, paint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from tracetaxa.records import Trace, Turn

_SAID_CHARS = 1200
_SYSTEM_CHARS = 240
_TOOL_CHARS = 300
_ERRORS = 20

_ROLE_STYLES = {"user": "bold green", "assistant": "bold cyan", "tool": "bold", "system": "dim"}


def render_trace_text(
    trace: Trace, labels: Sequence[Mapping[str, Any]] = (), *, width: int = 80, color: bool = False
) -> str:
    """A trace as text: facts, labels, the conversation with tool calls and results cut short, errors.

    A label has analysis, category, subcategory, confidence, labeller and evidence. No line is wider than
    `width` cells (at least 40); without `color` there are no escape sequences.
    """
    return paint(_trace(trace, labels), width, color)


def trace_document(trace: Trace, labels: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """A trace as a JSON value: the record's fields, times in RFC 3339, content whole and as it was sent."""
    return {
        "trace_id": trace.trace_id,
        "session_id": trace.session_id,
        "user_id": trace.user_id,
        "service_name": trace.service_name,
        "root_name": trace.root_name,
        "root_span_id": trace.root_span_id,
        "start": fmt.moment(trace.start_ns),
        "end": fmt.moment(trace.end_ns),
        "duration_ms": _duration_ms(trace),
        "status": trace.status,
        "span_count": trace.span_count,
        "error_count": trace.error_count,
        "is_agent": trace.is_agent,
        "llm_calls": trace.llm_calls,
        "tool_calls": trace.tool_calls,
        "tools": list(trace.tools),
        "models": list(trace.models),
        "last_tool_before_error": trace.last_tool_before_error,
        "usage": [
            {
                "model": usage.model,
                "provider": usage.provider,
                "input_tokens": usage.input_tokens,
                "output_tokens": usage.output_tokens,
            }
            for usage in trace.usage
        ],
        "input_tokens": sum(usage.input_tokens for usage in trace.usage),
        "output_tokens": sum(usage.output_tokens for usage in trace.usage),
        "feedback": dict(trace.feedback),
        "attributes": dict(trace.attributes),
        "content_captured": trace.content_captured,
        "input": trace.input,
        "output": trace.output,
        "turns": [
            {
                "role": turn.role,
                "text": turn.text,
                "span_id": turn.span_id,
                "time": fmt.moment(turn.time_ns) if turn.time_ns else None,
                "tool": turn.tool,
                "arguments": turn.arguments,
                "error": turn.error,
            }
            for turn in trace.turns
        ],
        "errors": [
            {"span_id": error.span_id, "name": error.name, "message": error.message} for error in trace.errors
        ],
        "labels": [dict(label) for label in labels],
    }


def _duration_ms(trace: Trace) -> float:
    return (trace.end_ns - trace.start_ns) / 1e6


def _trace(trace: Trace, labels: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    yield line(f"trace {one_line(trace.trace_id)}", "bold")
    yield facts(_facts(trace))
    if labels:
        yield heading("Labels")
        for label in labels:
            yield from _label(label)
    yield heading("Conversation")
    if not trace.turns:
        why = "No message was found." if trace.content_captured else "The spans carry no message content."
        yield line(why)
    for number, turn in enumerate(trace.turns):
        if number:
            yield Text("")
        yield from _turn(turn, trace.start_ns)
    if trace.errors:
        yield heading("Errors")
        for error in trace.errors[:_ERRORS]:
            yield line(f"{one_line(error.name)} (span {one_line(error.span_id)})", "red")
            yield indented(line(clip(plain(error.message).strip() or "no message", _TOOL_CHARS)), 2)
        if len(trace.errors) > _ERRORS:
            yield line(f"and {fmt.count(len(trace.errors) - _ERRORS)} more", "dim")


def _facts(trace: Trace) -> list[tuple[str, str]]:
    status = "no status" if trace.status == "Unset" else trace.status
    calls = f"{_number(trace.llm_calls, 'model call')}, {_number(trace.tool_calls, 'tool call')}"
    rows = [
        ("service", f"{trace.service_name or 'unknown'}, root span {trace.root_name or 'not seen'}"),
        ("started", f"{fmt.when(fmt.moment(trace.start_ns))}, took {fmt.duration(_duration_ms(trace))}"),
        ("status", f"{status}, {_number(trace.error_count, 'error')} in {_number(trace.span_count, 'span')}"),
        ("calls", calls),
        ("session", trace.session_id),
        ("user", trace.user_id),
    ]
    rows += [
        (
            "model",
            (
                f"{usage.model or 'unknown'}, {fmt.count(usage.input_tokens)} tokens in, "
                f"{fmt.count(usage.output_tokens)} out"
            ),
        )
        for usage in trace.usage
    ]
    rows += [
        ("tools", ", ".join(trace.tools)),
        ("feedback", ", ".join(f"{name} {fmt.score(value)}" for name, value in trace.feedback.items())),
    ]
    rows += [("attribute", f"{name} = {value}") for name, value in sorted(trace.attributes.items())]
    return [(name, clip(one_line(value), _TOOL_CHARS)) for name, value in rows]


def _number(count: int, noun: str) -> str:
    return f"{fmt.count(count)} {noun}" if count == 1 else f"{fmt.count(count)} {noun}s"


def _label(label: Mapping[str, Any]) -> Iterator[RenderableType]:
    names = [one_line(label["category"])]
    if label["subcategory"]:
        names.append(one_line(label["subcategory"]))
    yield line(f"{one_line(label['analysis'])}: {' › '.join(names)}")
    by = f"by {one_line(label['labeller'])}, confidence {fmt.score(label['confidence'])}"
    yield indented(line(by, "dim"), 2)
    if label["evidence"]:
        yield indented(line(f"“{clip(one_line(label['evidence']), _TOOL_CHARS)}”", "yellow"), 2)


def _turn(turn: Turn, start_ns: int) -> Iterator[RenderableType]:
    title = f"tool {one_line(turn.tool) or '(no name)'}" if turn.role == "tool" else turn.role
    at = f" +{fmt.duration(max(0, turn.time_ns - start_ns) / 1e6)}" if turn.time_ns else ""
    head = line(title, "bold red" if turn.error else _ROLE_STYLES.get(turn.role, ""))
    head.append(f"{at}{' failed' if turn.error else ''}", "red" if turn.error else "dim")
    yield head
    if turn.role == "tool":
        called, returned = _cut(turn.arguments) or "(no arguments)", _cut(turn.text) or "(empty)"
        yield indented(facts([("call", called), ("result", returned)], label_width=6), 2)
        return
    limit = _SYSTEM_CHARS if turn.role == "system" else _SAID_CHARS
    yield indented(line(clip(plain(turn.text).strip(), limit) or "(empty)"), 2)


def _cut(text: str) -> str:
    return clip(one_line(text), _TOOL_CHARS)
