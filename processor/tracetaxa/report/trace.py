"""One trace for a reader: what happened, in order, and which labels it carries."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from tracetaxa.dialects.identity import SESSION_KEYS, USER_KEYS
from tracetaxa.report import format as fmt
from tracetaxa.report.plain import one_line, plain
from tracetaxa.report.quote import clip
from tracetaxa.report.spans import span_tree
from tracetaxa.report.terminal import facts, heading, indented, line, paint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from tracetaxa.records import Feedback, SpanLine, Trace, Turn

_SAID_CHARS = 1200
_SYSTEM_CHARS = 240
_TOOL_CHARS = 300
_ERRORS = 20
_ATTRIBUTES = 12
_TOLD = frozenset({*SESSION_KEYS, *USER_KEYS, "otel.scope.name", "otel.scope.version"})
"""Attributes that the facts tell already."""
DEFAULT_LIMIT = 200
"""Turns and spans that are shown: more than anybody reads, less than floods a terminal."""

_TIMES = "tracetaxa.import.times"
_ROLE_STYLES = {
    "user": "bold green",
    "assistant": "bold cyan",
    "tool": "bold",
    "retrieval": "bold",
    "system": "dim",
}


@dataclass(frozen=True, slots=True)
class TraceView:
    """A trace with what is known beside it. Labels have the fields of LabelRow."""

    trace: Trace
    spans: Sequence[SpanLine] = ()
    labels: Sequence[Mapping[str, Any]] = ()
    cost_usd: float | None = None


def render_trace_text(
    view: TraceView, *, width: int = 80, color: bool = False, limit: int = DEFAULT_LIMIT
) -> str:
    """A trace as text: facts, labels, the conversation with tool calls and results cut short, errors, spans.

    At most `limit` turns and `limit` spans, 0 for all. No line is wider than `width` cells (at least 40);
    without `color` there are no escape sequences.
    """
    return paint(_trace(view, limit or len(view.trace.turns) + len(view.spans), width), width, color)


def trace_document(view: TraceView) -> dict[str, Any]:
    """A trace as a JSON value: the record's fields, times in RFC 3339, content whole and as it was sent."""
    trace = view.trace
    return {
        "trace_id": trace.trace_id,
        "session_id": trace.session_id,
        "user_id": trace.user_id,
        "service_name": trace.service_name,
        "root_name": trace.root_name,
        "root_span_id": trace.root_span_id,
        "has_root": trace.has_root,
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
                "model": model,
                "provider": provider,
                "calls": calls,
                "input_tokens": given,
                "output_tokens": said,
            }
            for (model, provider), (calls, given, said) in _usage(trace).items()
        ],
        "input_tokens": sum(usage.input_tokens for usage in trace.usage),
        "output_tokens": sum(usage.output_tokens for usage in trace.usage),
        "cost_usd": view.cost_usd,
        "feedback": trace.scores,
        "feedback_given": [asdict(given) for given in trace.feedback],
        "dialects": list(trace.dialects),
        "instrumentations": list(trace.instrumentations),
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
        "spans": [
            {name: value for name, value in asdict(span).items() if name not in ("start_ns", "end_ns")}
            | {"start": fmt.moment(span.start_ns), "duration_ms": (span.end_ns - span.start_ns) / 1e6}
            for span in view.spans
        ],
        "labels": [dict(label) for label in view.labels],
    }


def _usage(trace: Trace) -> dict[tuple[str, str], tuple[int, int, int]]:
    """Calls, input and output tokens by model and provider."""
    totals: dict[tuple[str, str], tuple[int, int, int]] = {}
    for call in trace.usage:
        calls, given, said = totals.get((call.model, call.provider), (0, 0, 0))
        totals[call.model, call.provider] = (
            calls + 1,
            given + call.input_tokens,
            said + call.output_tokens,
        )
    return totals


def _tokens(given: int, said: int) -> str:
    known = given or said
    return f"{fmt.count(given)} tokens in, {fmt.count(said)} out" if known else "tokens unknown"


def _duration_ms(trace: Trace) -> float:
    return (trace.end_ns - trace.start_ns) / 1e6


def _trace(view: TraceView, limit: int, width: int) -> Iterator[RenderableType]:
    trace = view.trace
    several = len({span.trace_id for span in view.spans}) if view.spans else 1
    what = f"session of {several} traces, the first " if several > 1 else ""
    yield line(f"{what}trace {one_line(trace.trace_id)}", "bold")
    yield facts(_facts(view))
    if view.labels:
        yield heading("Labels")
        for label in view.labels:
            yield from _label(label)
    if trace.feedback:
        yield heading("Feedback")
        for given in trace.feedback:
            yield from _feedback(given)
    yield heading("Conversation")
    if not trace.content_captured:
        yield line("The spans carry no message content.")
    elif not trace.turns:
        yield line("No message was found.")
    for number, turn in enumerate(trace.turns[:limit]):
        if number:
            yield Text("")
        yield from _turn(turn, trace.start_ns, trace.content_captured)
    yield from _more(len(trace.turns) - limit, "turn")
    if trace.errors:
        yield heading("Errors")
        for error in trace.errors[:_ERRORS]:
            yield line(f"{one_line(error.name)} (span {one_line(error.span_id)})", "red")
            yield indented(line(clip(plain(error.message).strip() or "no message", _TOOL_CHARS)), 2)
        if len(trace.errors) > _ERRORS:
            yield line(f"and {fmt.count(len(trace.errors) - _ERRORS)} more", "dim")
    shown = [(one_line(name), value) for name, value in sorted(trace.attributes.items()) if name not in _TOLD]
    if shown:
        yield heading("Attributes")
        yield facts([(name, clip(one_line(value), _TOOL_CHARS)) for name, value in shown[:_ATTRIBUTES]])
        if len(shown) > _ATTRIBUTES:
            yield line(f"and {fmt.count(len(shown) - _ATTRIBUTES)} more; --format json has them", "dim")
    if view.spans:
        yield heading("Spans")
        yield span_tree(view.spans[:limit], trace.start_ns, width)
        yield from _more(len(view.spans) - limit, "span")


def _more(left: int, noun: str) -> Iterator[RenderableType]:
    if left > 0:
        yield line(f"\nand {_number(left, f'more {noun}')}; --limit 0 shows all", "dim")


def _feedback(given: Feedback) -> Iterator[RenderableType]:
    said = [fmt.score(given.score)] if given.score is not None else []
    said += [one_line(given.label)] if given.label else []
    by = f", by {given.annotator.lower()}" if given.annotator else ""
    by += f", on span {given.span_id}" if given.span_id else ""
    yield line(clip(f"{one_line(given.name)} {' '.join(said)}".rstrip() + one_line(by), _TOOL_CHARS))
    if given.comment:
        yield indented(line(f"“{clip(one_line(given.comment), _TOOL_CHARS)}”", "yellow"), 2)


def _facts(view: TraceView) -> list[tuple[str, str]]:
    trace = view.trace
    status = "not set" if trace.status == "Unset" else trace.status
    calls = f"{_number(trace.llm_calls, 'model call')}, {_number(trace.tool_calls, 'tool call')}"
    rows = [
        ("service", f"{trace.service_name or 'unknown'}, {_root(trace)}"),
        ("started", f"{fmt.when(fmt.moment(trace.start_ns))}, took {fmt.duration(_duration_ms(trace))}"),
        ("", "times are made up by the import" if trace.attributes.get(_TIMES) == "made up" else ""),
        ("status", f"{status}, {_number(trace.error_count, 'error')} in {_number(trace.span_count, 'span')}"),
        ("calls", calls),
        ("session", trace.session_id),
        ("user", trace.user_id),
    ]
    rows += [
        (
            "model",
            f"{model or 'unknown'}, {_number(calls, 'call')}, {_tokens(given, said)}",
        )
        for (model, _), (calls, given, said) in _usage(trace).items()
    ]
    rows += [
        ("cost", fmt.cost(view.cost_usd) if view.cost_usd is not None else ""),
        ("tools", ", ".join(trace.tools)),
        ("read as", ", ".join([*trace.dialects, *(f"by {name}" for name in trace.instrumentations)])),
    ]
    return [(name, clip(one_line(value), _TOOL_CHARS)) for name, value in rows]


def _root(trace: Trace) -> str:
    if trace.has_root:
        return f"root span {trace.root_name or 'without a name'}"
    return f"the root span never came, first span {trace.root_name or 'without a name'}"


def _number(count: int, noun: str) -> str:
    return f"{fmt.count(count)} {noun}" if count == 1 else f"{fmt.count(count)} {noun}s"


def _label(label: Mapping[str, Any]) -> Iterator[RenderableType]:
    names = [one_line(label["category"])]
    if label["subcategory"]:
        names.append(one_line(label["subcategory"]))
    yield line(f"{one_line(label['analysis'])}: {' › '.join(names)}")
    yield indented(line(_given_by(label), "dim"), 2)
    if label["evidence"]:
        yield indented(line(f"“{clip(one_line(label['evidence']), _TOOL_CHARS)}”", "yellow"), 2)
    if origin := _origin(label):
        yield indented(line(origin, "dim"), 2)


def _given_by(label: Mapping[str, Any]) -> str:
    if label["labeller"] != "human":
        return f"by {one_line(label['labeller'])}, confidence {fmt.score(label['confidence'])}"
    who, note = one_line(label.get("classifier_version", "")), one_line(label.get("reason", ""))
    return "by a person" + (f", {who}" if who else "") + (f": {clip(note, _TOOL_CHARS)}" if note else "")


def _origin(label: Mapping[str, Any]) -> str:
    """Where to look further: docs/labels.md."""
    parts = [
        f"run {one_line(label['run_id'])}" if label.get("run_id") else "",
        f"taxonomy version {label['taxonomy_version']}" if label.get("taxonomy_version") else "",
        f"evidence in span {one_line(label['evidence_span_id'])}" if label.get("evidence_span_id") else "",
    ]
    return ", ".join(part for part in parts if part)


def _turn(turn: Turn, start_ns: int, captured: bool) -> Iterator[RenderableType]:
    called = turn.role in ("tool", "retrieval")
    title = f"{turn.role} {one_line(turn.tool) or '(no name)'}" if called else turn.role
    if not turn.time_ns:
        title += " (said before this trace)"
    at = f" +{fmt.duration(max(0, turn.time_ns - start_ns) / 1e6)}" if turn.time_ns else ""
    head = line(title, "bold red" if turn.error else _ROLE_STYLES.get(turn.role, ""))
    head.append(f"{at}{' failed' if turn.error else ''}", "red" if turn.error else "dim")
    yield head
    if called:
        names = ("call", "result") if turn.role == "tool" else ("query", "found")
        asked = _cut(turn.arguments) or ("(none)" if captured else "(not captured)")
        returned = _cut(turn.text) or ("(nothing)" if captured else "(not captured)")
        yield indented(facts([(names[0], asked), (names[1], returned)], label_width=6), 2)
        return
    limit = _SYSTEM_CHARS if turn.role == "system" else _SAID_CHARS
    yield indented(line(clip(plain(turn.text).strip(), limit) or "(empty)"), 2)


def _cut(text: str) -> str:
    return clip(one_line(text), _TOOL_CHARS)
