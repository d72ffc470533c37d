"""A chat as the trace that an instrumented agent would have made of it.

OpenTelemetry's GenAI conventions (semantic-conventions-genai 1.42): the root `invoke_agent`, a `chat` for
each answer of the model, an `execute_tool` for each tool call with a result. Words of the user that nobody
answered are on an `invoke_agent` of their own beside the root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from tracetaxa.dialects.values import limited, text_of
from tracetaxa.imports.clock import has_times, message_times
from tracetaxa.imports.history import HISTORY_CHARACTERS, History, encode_system
from tracetaxa.imports.identity import session_id, span_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracetaxa.dialects.reading import ToolCall, ToolResult
    from tracetaxa.imports.rows import Chat, Said

SCOPE = "tracetaxa.import"
_MAX_VALUE_CHARACTERS = 1000


def to_resource_spans(
    chat: Chat, trace_id: bytes, service: str, *, at_ns: int, history_characters: int = HISTORY_CHARACTERS
) -> ResourceSpans:
    """All spans of a chat; without any time of its own it ends at `at_ns`."""
    made = ResourceSpans()
    set_attributes(made.resource.attributes, {"service.name": service})
    scope_spans = made.scope_spans.add()
    scope_spans.scope.name = SCOPE
    _Trace(chat, trace_id, service, message_times(chat, at_ns), history_characters).write(scope_spans.spans)
    return made


class _Trace:
    def __init__(
        self, chat: Chat, trace_id: bytes, service: str, times: list[int], history_characters: int
    ) -> None:
        self._chat = chat
        self._trace_id = trace_id
        self._service = service
        self._times = times
        self._root_id = span_id(trace_id, "root")
        self._made = 0
        results = {r.call_id for said in chat.messages[chat.history :] for r in said.message.results}
        self._history = History(
            [said.message for said in chat.messages],
            frozenset(results),
            system=bool(chat.system),
            budget=history_characters,
        )

    def write(self, spans: Any) -> None:
        chat, times = self._chat, self._times
        root = spans.add()
        asked: dict[str, tuple[ToolCall, int]] = {}
        last_answer = chat.history - 1
        instructions = encode_system(chat.system)
        for i, said in enumerate(chat.messages):
            if i >= chat.history and said.message.role == "assistant":
                self._answer(spans.add(), said, i, instructions)
                instructions, last_answer = "", i
            asked |= {call.call_id: (call, i) for call in said.message.calls}
            if i >= chat.history:
                for result in said.message.results:
                    call, since = asked.get(result.call_id, (None, max(i - 1, 0)))
                    self._execution(spans.add(), call, result, times[since], times[i])
        rest = self._history.input(len(chat.messages)) if self._unanswered(last_answer) else ""
        attributes = self._root_attributes()
        if instructions:  # no model call to say them
            attributes |= {"gen_ai.system_instructions": instructions, "gen_ai.input.messages": rest}
            rest = ""
        elif len(spans) == 1:
            attributes["gen_ai.input.messages"], rest = rest, ""
        start = min(
            [span.start_time_unix_nano for span in spans[1:]], default=times[max(chat.history - 1, 0)]
        )
        self._fill(root, f"invoke_agent {self._service}", start, times[-1], attributes, self._root_id)
        if chat.error:
            root.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=chat.error))
        if rest:
            about = {**self._common("invoke_agent"), "gen_ai.input.messages": rest}
            self._fill(spans.add(), "invoke_agent unanswered", times[last_answer + 1], times[-1], about)

    def _unanswered(self, last_answer: int) -> bool:
        return any(said.message.role in ("user", "system") for said in self._chat.messages[last_answer + 1 :])

    def _answer(self, span: Span, said: Said, index: int, instructions: str) -> None:
        model = said.model or self._chat.model
        finish = said.finish_reason or ("tool_call" if said.message.calls else "stop")
        attributes: dict[str, Any] = {
            **self._common("chat"),
            "gen_ai.request.model": model,
            "gen_ai.response.model": model,
            "gen_ai.system_instructions": instructions,
            "gen_ai.input.messages": self._history.input(index),
            "gen_ai.output.messages": self._history.output(index, finish),
            "gen_ai.usage.input_tokens": said.tokens.input,
            "gen_ai.usage.output_tokens": said.tokens.output,
            "gen_ai.usage.cache_read.input_tokens": said.tokens.cache_read,
            "gen_ai.usage.cache_creation.input_tokens": said.tokens.cache_write,
        }
        start = self._times[index - 1] if index else self._times[0] - 1000
        self._fill(
            span, f"chat {model}".rstrip(), start, self._times[index], attributes, kind=Span.SPAN_KIND_CLIENT
        )

    def _execution(self, span: Span, call: ToolCall | None, result: ToolResult, start: int, end: int) -> None:
        name = (call.name if call else "") or result.name or "tool"
        attributes: dict[str, Any] = {
            **self._common("execute_tool"),
            "gen_ai.tool.name": name,
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": result.call_id,
            "gen_ai.tool.call.arguments": call.arguments if call else "",
            "gen_ai.tool.call.result": result.text,
            "error.type": "tool_error" if result.error else "",
        }
        self._fill(span, f"execute_tool {name}", start, end, attributes)
        if result.error:
            span.status.CopyFrom(
                Status(code=Status.STATUS_CODE_ERROR, message=limited(result.text, _MAX_VALUE_CHARACTERS))
            )

    def _common(self, operation: str) -> dict[str, Any]:
        return {
            "gen_ai.operation.name": operation,
            "gen_ai.agent.name": self._service,
            "gen_ai.conversation.id": session_id(self._service, self._chat.conversation),
        }

    def _root_attributes(self) -> dict[str, Any]:
        return {
            **self._common("invoke_agent"),
            "user.id": self._chat.user,
            "error.type": "error" if self._chat.error else "",
            "tracetaxa.import.times": "source" if has_times(self._chat) else "made up",
            **metadata_attributes(self._chat.metadata),
        }

    def _fill(
        self,
        span: Span,
        name: str,
        start_ns: int,
        end_ns: int,
        attributes: Mapping[str, Any],
        own_id: bytes = b"",
        kind: Span.SpanKind.ValueType = Span.SPAN_KIND_INTERNAL,
    ) -> None:
        span.trace_id = self._trace_id
        span.span_id = own_id or span_id(self._trace_id, self._made)
        if not own_id:
            self._made += 1
            if not name.endswith(" unanswered"):
                span.parent_span_id = self._root_id
        span.name, span.kind = name, kind
        span.start_time_unix_nano, span.end_time_unix_nano = start_ns, max(start_ns, end_ns)
        set_attributes(span.attributes, attributes)


def metadata_attributes(metadata: Mapping[str, Any]) -> dict[str, str]:
    """`metadata.<key>`: a prefix of its own, so that no file can pass for an instrumentation."""
    named = {f"metadata.{text_of(key)[:100]}": text_of(value) for key, value in metadata.items()}
    return {key: value for key, value in named.items() if len(value) <= _MAX_VALUE_CHARACTERS}


def set_attributes(into: Any, attributes: Mapping[str, Any]) -> None:
    """Those that are known: nothing for None and empty text."""
    for key, value in attributes.items():
        if value is None or value == "":
            continue
        attribute = into.add()
        attribute.key = key
        if isinstance(value, bool):
            attribute.value.bool_value = value
        elif isinstance(value, int):
            attribute.value.int_value = value
        elif isinstance(value, str):
            attribute.value.string_value = value
        else:
            attribute.value.array_value.values.extend([{"string_value": text_of(item)} for item in value])
