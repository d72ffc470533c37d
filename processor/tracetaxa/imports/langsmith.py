"""Runs that LangSmith exported (its run data format): each becomes the span that it was.

Trace ids are the runs' own; a file may hold whole trees or root runs only, in any order. Fields:
https://docs.langchain.com/langsmith/run-data-format
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

from tracetaxa.dialects.values import limited, text_of, well_formed
from tracetaxa.imports.history import encode, encode_system
from tracetaxa.imports.identity import span_id
from tracetaxa.imports.messages import read_tokens
from tracetaxa.imports.records import CONVERSATION_KEYS, USER_KEYS, first_text, read_call
from tracetaxa.imports.rows import BadRow, Chat, Tokens
from tracetaxa.imports.spans import SCOPE, metadata_attributes, set_attributes
from tracetaxa.imports.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

_OPERATIONS = {"llm": "chat", "chat_model": "chat", "tool": "execute_tool", "retriever": "retrieval"}
_TECHNICAL = ("ls_", "langgraph_", "revision_id", "LANGSMITH_", "LANGCHAIN_", "__pregel", "checkpoint_")


def is_run(value: Any) -> bool:
    return isinstance(value, dict) and "run_type" in value and "id" in value and "start_time" in value


def read_run(run: Mapping[str, Any], service: str) -> ResourceSpans:
    """Raises BadRow."""
    made = ResourceSpans()
    set_attributes(made.resource.attributes, {"service.name": service})
    scope_spans = made.scope_spans.add()
    scope_spans.scope.name = SCOPE
    span = scope_spans.spans.add()
    own, trace, parent = _uuid(run, "id"), _uuid(run, "trace_id"), _parent(run)
    assert own is not None
    trace_id = (trace or own).bytes if trace or not parent else None
    if trace_id is None:
        raise BadRow("a run with a parent needs its trace_id")
    span.trace_id, span.span_id = trace_id, span_id(trace_id, own.hex)
    if parent is not None:
        span.parent_span_id = span_id(trace_id, parent.hex)
    start, end = parse_time(run["start_time"]), parse_time(run.get("end_time"))
    if start is None:
        raise BadRow("it has no start_time")
    span.start_time_unix_nano, span.end_time_unix_nano = start, max(start, end or start)
    operation = _OPERATIONS.get(text_of(run.get("run_type")).lower(), "" if parent else "invoke_agent")
    name = well_formed(text_of(run.get("name")))[:200]
    span.name = f"{operation} {name}".strip() or "run"
    span.kind = Span.SPAN_KIND_CLIENT if operation == "chat" else Span.SPAN_KIND_INTERNAL
    set_attributes(span.attributes, _attributes(run, operation, name, service, root=parent is None))
    error = run.get("error")
    if error or run.get("status") == "error":
        span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=limited(text_of(error), 4000)))
    return made


def _attributes(
    run: Mapping[str, Any], operation: str, name: str, service: str, root: bool
) -> dict[str, Any]:
    metadata = _dict(_dict(run.get("extra")).get("metadata")) or _dict(run.get("metadata"))
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.conversation.id": first_text(metadata, run, keys=CONVERSATION_KEYS[:6])
        if "thread_id" not in run
        else first_text(run, keys=("thread_id",)),
        "user.id": first_text(metadata, keys=USER_KEYS),
    }
    if root:
        attributes["gen_ai.agent.name"] = service
        shown = {key: value for key, value in metadata.items() if not str(key).startswith(_TECHNICAL)}
        attributes |= metadata_attributes(shown)
    inputs, outputs = run.get("inputs"), run.get("outputs")
    if operation == "execute_tool":
        result = _dict(outputs).get("output", outputs)
        result = _dict(result).get("content", result)
        attributes |= {
            "gen_ai.tool.name": name,
            "gen_ai.tool.call.id": text_of(_dict(_dict(outputs).get("output")).get("tool_call_id")),
            "gen_ai.tool.call.arguments": text_of(_dict(inputs).get("input", inputs)),
            "gen_ai.tool.call.result": text_of(result),
            "error.type": "tool_error" if run.get("error") else "",
        }
    elif operation == "retrieval":
        attributes |= {
            "gen_ai.retrieval.query.text": text_of(_dict(inputs).get("query", inputs)),
            "gen_ai.retrieval.documents": text_of(_dict(outputs).get("documents", outputs)),
        }
    elif operation:
        attributes |= _conversation(run, inputs, outputs)
        attributes |= {
            "gen_ai.request.model": text_of(metadata.get("ls_model_name")) or _model(run),
            "gen_ai.provider.name": text_of(metadata.get("ls_provider")),
        }
    return attributes


def _conversation(run: Mapping[str, Any], inputs: Any, outputs: Any) -> dict[str, Any]:
    try:
        chat = read_call({}, inputs, outputs)
    except BadRow:
        if not inputs and not outputs:
            return {}
        said = [[{"role": role, "parts": [{"type": "text", "content": text_of(value)}]}] if value else []
                for role, value in (("user", inputs), ("assistant", outputs))]  # fmt: skip
        return {
            "gen_ai.input.messages": text_of(said[0]) if said[0] else "",
            "gen_ai.output.messages": text_of(said[1]) if said[1] else "",
        }
    tokens = read_tokens(run, _dict(run.get("usage_metadata")))
    if tokens == Tokens():
        tokens = next((one.tokens for one in reversed(chat.messages) if one.tokens != Tokens()), tokens)
    given, answered = _split(chat)
    return {
        "gen_ai.system_instructions": encode_system(chat.system),
        "gen_ai.input.messages": given,
        "gen_ai.output.messages": answered,
        "gen_ai.response.model": next(
            (one.model for one in reversed(chat.messages) if one.model), chat.model
        ),
        "gen_ai.usage.input_tokens": tokens.input,
        "gen_ai.usage.output_tokens": tokens.output,
        "gen_ai.usage.cache_read.input_tokens": tokens.cache_read,
        "gen_ai.usage.cache_creation.input_tokens": tokens.cache_write,
    }


def _split(chat: Chat) -> tuple[str, str]:
    """What the run was given, and what it answered."""
    first = next(
        (i for i, one in enumerate(chat.messages) if i >= chat.history and one.message.role != "user"),
        len(chat.messages),
    )
    encoded = [encode(one.message) for one in chat.messages]
    return _list(encoded[:first]), _list(encoded[first:])


def _list(encoded: list[str]) -> str:
    return f"[{','.join(encoded)}]" if encoded else ""


def _model(run: Mapping[str, Any]) -> str:
    parameters = _dict(_dict(run.get("extra")).get("invocation_params"))
    return text_of(parameters.get("model") or parameters.get("model_name"))[:200]


def _uuid(run: Mapping[str, Any], key: str) -> uuid.UUID | None:
    value = run.get(key)
    if value is None and key != "id":
        return None
    try:
        return uuid.UUID(text_of(value))
    except ValueError:
        raise BadRow(f"{key} {text_of(value)[:40]!r} is not a UUID") from None


def _parent(run: Mapping[str, Any]) -> uuid.UUID | None:
    if run.get("parent_run_id"):
        return _uuid(run, "parent_run_id")
    above = run.get("parent_run_ids")
    if isinstance(above, list) and above:  # from the root down
        return _uuid({"parent_run_ids": above[-1]}, "parent_run_ids")
    return None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
