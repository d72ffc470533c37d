"""Messages of one chat in any provider's spelling, to canonical ones that are ready to be put on spans.

The dialects' own reader does the work, so that what an import stores is what a trace of the same chat would
say. Tool calls get ids that are unique within the chat, which older formats and some logs lack, and results
those of their calls.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.messages import message_of
from tracetaxa.dialects.reading import Message, ToolCall, ToolResult
from tracetaxa.dialects.values import text_of, to_float, well_formed
from tracetaxa.imports.rows import BadRow, Said, Tokens
from tracetaxa.imports.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tracetaxa.records import Role

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "instructions": "system",
    "user": "user",
    "human": "user",
    "customer": "user",
    "client": "user",
    "visitor": "user",
    "prompter": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "aimessagechunk": "assistant",
    "agent": "assistant",
    "bot": "assistant",
    "chatbot": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
}
TIME_KEYS = ("timestamp", "time", "created_at", "createdAt", "create_time", "created", "date", "sent_at")
_ITEMS: dict[str, Role] = {
    "function_call": "assistant",
    "function_call_output": "tool",
    "custom_tool_call": "assistant",
    "custom_tool_call_output": "tool",
}
"""Items of OpenAI's Responses API that stand beside messages."""
_NOT_SAID = frozenset({"reasoning", "item_reference"})
_HERMES_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)


def is_message(value: Any) -> bool:
    """Whether it looks like a message, good or bad."""
    return isinstance(value, dict) and (
        ("role" in value and not isinstance(value["role"], dict))
        or _role_of_type(value) is not None
        or value.get("type") in (*_ITEMS, *_NOT_SAID)
        or (value.get("type") == "constructor" and "kwargs" in value)
    )


def read_messages(values: Sequence[Any]) -> tuple[tuple[str, ...], list[Said]]:
    """System prompts before the conversation, and its messages. Raises BadRow naming the first bad one."""
    system: list[str] = []
    said: list[Said] = []
    for number, value in enumerate(values, 1):
        try:
            _add(value, system, said)
        except BadRow as error:
            raise BadRow(f"message {number}: {error}") from None
    return tuple(system), with_call_ids(said)


def _add(value: Any, system: list[str], said: list[Said]) -> None:
    if not isinstance(value, dict):
        raise BadRow(f"{_shown(value)} is not an object with role and content")
    if value.get("type") in _NOT_SAID:
        return
    value, role = _with_role(value)
    read = message_of(value, role)
    for text in read.system:
        # After the first words it has a place in the conversation, which only a message keeps.
        if said:
            said.append(Said(Message("system", text)))
        else:
            system.append(text)
    facts = _facts(value)
    said += [Said(message, *facts) for message in read.messages]
    if role == "assistant" and not read.messages:
        said.append(Said(Message("assistant", ""), *facts))


def _with_role(value: dict[str, Any]) -> tuple[dict[str, Any], Role]:
    if value.get("type") in _ITEMS:
        return value, _ITEMS[value["type"]]
    inner = _unwrapped(value)
    name = inner.get("role") or inner.get("type")
    if name is None or (role := ROLES.get(text_of(name).strip().lower())) is None:
        raise BadRow(f"unknown role {_shown(name)}" if name else "it has no role")
    calls = inner.get("tool_calls") or _dict(inner.get("additional_kwargs")).get("tool_calls")
    return {**inner, "role": role, "tool_calls": calls}, role


def _unwrapped(value: dict[str, Any]) -> dict[str, Any]:
    """The message inside what LangChain's `dumpd` and `messages_to_dict` make of it."""
    if value.get("type") == "constructor":
        names = value.get("id")
        kind = text_of(names[-1]) if isinstance(names, list) and names else ""
        kwargs = _dict(value.get("kwargs"))
        return {"type": kind.removesuffix("Chunk").removesuffix("Message").lower(), **kwargs}
    data = value.get("data")
    if _role_of_type(value) is not None and isinstance(data, dict):
        return {**data, "type": value["type"]}
    return value


def _role_of_type(value: dict[str, Any]) -> Role | None:
    kind = value.get("type")
    return (
        ROLES.get(kind.lower()) if isinstance(kind, str) and ("content" in value or "data" in value) else None
    )


def _facts(value: dict[str, Any]) -> tuple[int | None, str, Tokens, str]:
    """Time, model, tokens and finish reason of a message."""
    told = _dict(value.get("response_metadata"))
    tokens = read_tokens(
        value.get("usage_metadata"), value.get("usage"), told.get("token_usage"), told.get("usage")
    )
    model = told.get("model_name") or told.get("model") or value.get("model")
    finish = told.get("finish_reason") or value.get("finish_reason") or value.get("stop_reason")
    return time_of(value), _name(model), tokens, _name(finish)


def time_of(value: Mapping[str, Any]) -> int | None:
    return next((ns for key in TIME_KEYS if (ns := parse_time(_scalar(value.get(key)))) is not None), None)


def read_tokens(*usages: Any) -> Tokens:
    """The first of these that tells something; OpenAI's, Anthropic's and LangChain's names."""
    for usage in usages:
        if not isinstance(usage, dict):
            continue
        input = _count(usage, "input_tokens", "prompt_tokens")
        output = _count(usage, "output_tokens", "completion_tokens")
        if input is None and output is None:
            continue
        details = _first_dict(usage, "prompt_tokens_details", "input_tokens_details", "input_token_details")
        read = _count(details, "cached_tokens", "cache_read")
        write = _count(details, "cache_creation")
        apart_read = _count(usage, "cache_read_input_tokens")
        apart_write = _count(usage, "cache_creation_input_tokens")
        if input is not None and details == {}:  # Anthropic counts the cache apart
            input += (apart_read or 0) + (apart_write or 0)
        return Tokens(input, output, read if apart_read is None else apart_read, write or apart_write)
    return Tokens()


def with_call_ids(said: Iterable[Said]) -> list[Said]:
    """Every call with an id of its own, every result with that of its call."""
    used: set[str] = set()
    waiting: list[tuple[str, ToolCall]] = []
    """(id as it came, call with its new id), oldest first."""
    done: list[Said] = []
    for item in said:
        message = item.message
        if message.calls:
            calls = []
            for call in message.calls:
                renamed = replace(call, call_id=_unused(call.call_id, used))
                waiting.append((call.call_id, renamed))
                calls.append(renamed)
            message = Message(message.role, message.text, tuple(calls), message.results)
        if message.results:
            results = tuple([_answered(result, waiting, used) for result in message.results])
            message = Message(message.role, message.text, message.calls, results)
        done.append(item if message is item.message else replace(item, message=message))
    return done


def _unused(wanted: str, used: set[str]) -> str:
    base = wanted or "call"
    call_id, number = (base if wanted else f"{base}_{len(used) + 1}"), 1
    while call_id in used:
        number += 1
        call_id = f"{base}_{number if wanted else len(used) + number}"
    used.add(call_id)
    return call_id


def _answered(result: ToolResult, waiting: list[tuple[str, ToolCall]], used: set[str]) -> ToolResult:
    """By id, else the oldest call that waits, of the result's name when it has one."""
    for i, (call_id, call) in enumerate(waiting):
        same = call_id == result.call_id if result.call_id else result.name in ("", call.name)
        if same:
            del waiting[i]
            return replace(result, call_id=call.call_id, name=call.name or result.name)
    return replace(result, call_id=_unused(result.call_id, used))


def with_tagged_calls(message: Message) -> Message:
    """Tool calls that the model wrote into its text between tags, as those of the Hermes format do."""
    if "<tool_call>" not in message.text:
        return message
    calls = [call for block in _HERMES_CALL.findall(message.text) for call in calls_in(block)]
    if not calls:
        return message
    return Message(message.role, _HERMES_CALL.sub("", message.text).strip(), (*message.calls, *calls))


def calls_in(text: str) -> list[ToolCall]:
    """Tool calls of JSON text: one object, or a list of them; none when it is something else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    found = message_of(
        {"role": "assistant", "tool_calls": value if isinstance(value, list) else [value]}, "assistant"
    )
    return [call for message in found.messages for call in message.calls]


def _count(usage: Mapping[str, Any], *keys: str) -> int | None:
    for key in keys:
        number = to_float(usage.get(key))
        if number is not None and 0 <= number < 1e15:
            return int(number)
    return None


def _first_dict(value: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return next((value[key] for key in keys if isinstance(value.get(key), dict)), {})


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _scalar(value: Any) -> Any:
    return None if isinstance(value, dict | list) else value


def _name(value: Any) -> str:
    return well_formed(value)[:200] if isinstance(value, str) else ""


def _shown(value: Any) -> str:
    return repr(text_of(value)[:40])
