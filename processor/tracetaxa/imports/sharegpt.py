"""ShareGPT: `{"conversations": [{"from": "human", "value": …}, …]}`, as data sets for fine-tuning have it.

Roles are those of the common loaders: human, gpt, system, function_call with JSON as its value, observation
or tool with the result; tool calls may also stand between `<tool_call>` tags.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.reading import Message, ToolCall, ToolResult
from tracetaxa.dialects.values import text_of, well_formed
from tracetaxa.imports.messages import (
    ROLES,
    calls_in,
    is_message,
    read_messages,
    time_of,
    with_call_ids,
    with_tagged_calls,
)
from tracetaxa.imports.rows import BadRow, Said

if TYPE_CHECKING:
    from collections.abc import Mapping

SHAREGPT_KEYS = ("conversations", "conversation", "items")
_CALLS = frozenset({"function_call", "tool_call"})
_RESULTS = frozenset(
    {"observation", "tool", "function", "function_response", "tool_response", "function_output"}
)
_ROLES = {**ROLES, "bing": "assistant", "bard": "assistant", "claude": "assistant"}
_HERMES_RESULT = re.compile(r"<tool_response>\s*(.*?)\s*</tool_response>", re.DOTALL)


def is_sharegpt(value: Mapping[str, Any]) -> bool:
    return any(isinstance(value.get(key), list) for key in SHAREGPT_KEYS)


def read_sharegpt(value: Mapping[str, Any]) -> tuple[tuple[str, ...], list[Said]]:
    """System prompts and messages. Raises BadRow."""
    items = next(value[key] for key in SHAREGPT_KEYS if isinstance(value.get(key), list))
    system = (
        [well_formed(value["system"])] if isinstance(value.get("system"), str) and value["system"] else []
    )
    if items and all(is_message(item) for item in items):
        more, said = read_messages(items)
        return (*system, *more), said
    messages: list[Said] = []
    for number, item in enumerate(items, 1):
        try:
            _add(item, system, messages)
        except BadRow as error:
            raise BadRow(f"message {number}: {error}") from None
    return tuple(system), with_call_ids(messages)


def _add(item: Any, system: list[str], messages: list[Said]) -> None:
    if not isinstance(item, dict) or "from" not in item:
        raise BadRow("it has no from and value")
    who, text, time_ns = text_of(item["from"]).strip().lower(), text_of(item.get("value")), time_of(item)
    if who in _CALLS:
        calls = calls_in(text) or [ToolCall("", "", text)]
        messages.append(Said(Message("assistant", "", tuple(calls)), time_ns))
    elif who in _RESULTS:
        texts = _HERMES_RESULT.findall(text) or [text]
        messages += [Said(Message("tool", "", (), (ToolResult("", "", one),)), time_ns) for one in texts]
    elif (role := _ROLES.get(who)) is None:
        raise BadRow(f"unknown role {who[:40]!r}")
    elif role == "system" and not messages:
        system.append(text)
    else:
        message = Message(role, text)
        messages.append(Said(with_tagged_calls(message) if role == "assistant" else message, time_ns))
