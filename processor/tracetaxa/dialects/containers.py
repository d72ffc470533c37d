"""Where the messages are in a request, a reply or a framework's state: JSON values to lists of messages.

Frameworks record whole calls: OpenAI's and Anthropic's request bodies, Gemini's contents, LangChain's
generations, LangGraph's state, the arguments of a decorated function.
"""

from __future__ import annotations

from typing import Any

_MAX_DEPTH = 6
_HOLDERS = (
    "messages",
    "contents",
    "generations",
    "choices",
    "candidates",
    "message",
    "content",
    "delta",
    "data",
    "update",
    "inputs",
    "outputs",
    "kwargs",
    "args",
    "input",
    "output",
)
"""Keys below which messages are looked for, the most telling first."""
_TEXTS = (
    "prompt",
    "contents",
    "input",
    "question",
    "query",
    "user_input",
    "user_prompt",
    "task",
    "text",
    "content",
    "answer",
    "response",
    "result",
    "output",
    "final_output",
    "output_text",
    "completion",
)
"""Keys whose text is what was asked or answered, where there are no messages."""
_SYSTEM = ("system", "instructions", "system_instruction", "systemInstruction", "system_prompt")
_ROLE_TYPES = {"human", "ai", "system", "tool", "function", "HumanMessage", "AIMessage", "ToolMessage"}
_PAIRED_ROLES = ("system", "user", "human", "assistant", "ai")
"""A message may be a pair of role and text."""
_ITEM_TYPES = {"message", "tool_call", "function_call", "function_call_output", "tool_result", "tool_use"}


def messages_in(value: Any) -> list[Any] | None:
    """The messages of a parsed JSON value, in the form that it has them; None when none is found.

    A list holds messages, or lists of them (LangChain's batches). Instructions beside the messages come
    first, as a message with role `system`.
    """
    return _found(value, 0)


def _found(value: Any, depth: int) -> list[Any] | None:
    if isinstance(value, list):
        if len(value) == 2 and value[0] in _PAIRED_ROLES and isinstance(value[1], str):
            return [{"role": value[0], "content": value[1]}]
        if value and isinstance(value[0], list) and depth < _MAX_DEPTH:
            batch = [message for inner in value for message in _found(inner, depth + 1) or ()]
            return [message for message in batch if isinstance(message, dict)]
        for item in value:
            if isinstance(item, dict) and "role" not in item and not _is_message(item):
                break
        else:
            return value
        nested = [_found(item, depth + 1) or [item] for item in value] if depth < _MAX_DEPTH else [value]
        return [message for inner in nested for message in inner]
    if not isinstance(value, dict) or depth >= _MAX_DEPTH:
        return None
    if _is_message(value):
        return [value]
    instructions = _instructions(value)
    for key in _HOLDERS:
        inner = value.get(key)
        if isinstance(inner, dict | list) and inner and (found := _found(inner, depth + 1)):
            return [*instructions, *found]
    said = next((value[key] for key in _TEXTS if isinstance(value.get(key), str) and value[key]), None)
    if said is not None:
        return [*instructions, said]
    return instructions or None


def _is_message(value: dict[str, Any]) -> bool:
    if "role" in value or isinstance(value.get("parts"), list):
        return True
    kind = value.get("type")
    return isinstance(kind, str) and (
        kind in _ITEM_TYPES
        or (kind in _ROLE_TYPES and ("content" in value or isinstance(value.get("data"), dict)))
        or (kind == "constructor" and isinstance(value.get("kwargs"), dict))
    )


def _instructions(value: dict[str, Any]) -> list[Any]:
    config = value.get("config")
    for source in (value, config if isinstance(config, dict) else {}):
        for key in _SYSTEM:
            said = source.get(key)
            if said and isinstance(said, str | list | dict):
                if isinstance(said, dict) and "parts" in said:
                    said = said["parts"]
                return [{"role": "system", "content": said}]
    return []
