"""Chat messages in JSON, as instrumentations write them, to Message records.

The form of the GenAI conventions (`parts`), those of the providers (OpenAI's `content` and `tool_calls`,
Anthropic's and Bedrock's blocks, Gemini's parts) and LangChain's are understood, because instrumentations
pass them through. Parts that aren't text are named in brackets: that there was an image can decide what a
request was about.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from tracetaxa.dialects.containers import messages_in
from tracetaxa.dialects.reading import Message, ToolCall, ToolResult
from tracetaxa.dialects.values import canonical_json, load_json, text_of, well_formed

if TYPE_CHECKING:
    from tracetaxa.records import Role

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "ai": "assistant",
    "model": "assistant",
    "tool": "tool",
    "function": "tool",
}
_CALLS = {
    "tool_call",
    "tool-call",
    "tool_use",
    "function_call",
    "server_tool_call",
    "toolUse",
    "functionCall",
}
_RESULTS = {
    "tool_call_response",
    "tool_result",
    "tool-result",
    "function_call_output",
    "server_tool_call_response",
    "toolResult",
    "functionResponse",
    "function_response",
}
_ITEMS = _CALLS | _RESULTS
_WRAPPED = ("toolUse", "toolResult", "functionCall", "function_call", "functionResponse", "function_response")
"""Bedrock's and Gemini's blocks: the kind is the only key."""
_PLAIN = {"role", "content", "parts", "finish_reason", "name"}
_THOUGHTS = {"reasoning", "thinking", "redacted_thinking"}
_MEDIA = {
    "blob",
    "image",
    "audio",
    "video",
    "image_url",
    "input_image",
    "input_audio",
    "file",
    "input_file",
    "uri",
}


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages of one list, with the system messages apart."""

    system: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()

    def __add__(self, other: Conversation) -> Conversation:
        return Conversation(self.system + other.system, self.messages + other.messages)


EMPTY = Conversation()


class MessageReader:
    """Reads message lists of one trace.

    Every model call repeats the history so far. A list whose text continues that of a list read before costs
    only its new messages, so a long conversation is parsed once and not once per call.
    """

    def __init__(self, remembered: int = 4) -> None:
        self._recent: deque[tuple[str, Conversation]] = deque(maxlen=remembered)

    def read(self, raw: str, role: Role) -> Conversation:
        """Messages of JSON text; text that is not JSON is one message. `role` is for messages without one."""
        if not raw.startswith("["):
            return read_messages(raw, role)
        for opened, conversation in self._recent:
            # `opened` is a JSON array without its last bracket: after a comma come more elements.
            if not raw.startswith(opened):
                continue
            rest = raw[len(opened) :].strip()
            if rest == "]":
                return conversation
            added = load_json(f"[{rest[1:]}") if rest.startswith(",") else None
            if isinstance(added, list):
                return self._remember(raw, conversation + _messages_of(added, role))
        parsed = load_json(raw)
        if not isinstance(parsed, list):
            return read_messages(raw, role)
        return self._remember(raw, _messages_of(parsed, role))

    def _remember(self, raw: str, conversation: Conversation) -> Conversation:
        if conversation.messages:
            self._recent.appendleft((raw.rstrip()[:-1].rstrip(), conversation))
        return conversation


def read_messages(raw: str, role: Role) -> Conversation:
    """Messages of one attribute: a JSON list, a JSON object that holds one, or plain text."""
    if not raw.strip():
        return EMPTY
    value = load_json(raw)
    if isinstance(value, dict | list):
        return _messages_of(value, role)
    return _messages_of([value if isinstance(value, str) else raw], role)


def message_of(value: Any, role: Role) -> Conversation:
    """One message, whose JSON form has been parsed already."""
    return _messages_of([value], role)


def read_payload(raw: str, role: Role) -> Conversation:
    """Messages of what an agent was given or gave back; JSON without any is one message, as it is."""
    conversation = read_messages(raw, role)
    if conversation.messages or not raw.strip():
        return conversation
    value = load_json(raw)
    return EMPTY if not value or conversation.system else Conversation((), (Message(role, text_of(value)),))


def _messages_of(value: Any, role: Role) -> Conversation:
    system: list[str] = []
    messages: list[Message] = []
    for item in messages_in(value) or ():
        message = _message(item, role)
        if message is None:
            continue
        if message.role == "system":
            system += [message.text] if message.text else []
        elif message.text or message.calls or message.results:
            messages.append(message)
    return Conversation(tuple(system), tuple(messages))


def _message(value: Any, default: Role) -> Message | None:
    if isinstance(value, str):
        return Message(default, text_of(value))
    if not isinstance(value, dict):
        return None
    if "kwargs" in value or "data" in value:
        value = _unwrapped(value)
    content = value["parts"] if value.get("parts") is not None else value.get("content")
    role = _role(value, default)
    if role in ("user", "assistant") and value.keys() <= _PLAIN and (said := _only_text(content)) is not None:
        return Message(role, said)
    parts = _Parts()
    if _kind(value) in _ITEMS:
        parts.part(value)  # an item of OpenAI's Responses API: a call or its output beside the messages
        role = _role(value, "assistant" if parts.calls else "tool")
    else:
        parts.read(content)
    calls = value.get("tool_calls")
    for call in calls if isinstance(calls, list) else [value.get("function_call")]:
        parts.call(call)
    said = "\n".join(parts.texts)
    if role != "tool":
        return Message(role, said, tuple(parts.calls), tuple(parts.results))
    if not parts.results:
        call_id, name = text_of(value.get("tool_call_id") or value.get("id")), text_of(value.get("name"))
        parts.results.append(ToolResult(call_id, name, said or result_text(content), _failed(value)))
    return Message(role, "", (), tuple(parts.results))


def _role(value: dict[str, Any], default: Role) -> Role:
    role = value.get("role")
    if isinstance(role, str) and role in _ROLES:
        return _ROLES[role]
    return _ROLES.get(text_of(value.get("role") or value.get("type")).lower(), default)


def _only_text(content: Any) -> str | None:
    """The text of a message that is nothing else; most are, and the way through `_Parts` takes longer."""
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], dict):
        part = content[0]
        content = part.get("content", part.get("text")) if part.get("type") == "text" else None
    return text_of(content) if isinstance(content, str) else None


def _unwrapped(value: dict[str, Any]) -> dict[str, Any]:
    """LangChain's two ways to serialise a message, as the plain message inside."""
    inner = value.get("kwargs") if value.get("type") == "constructor" else value.get("data")
    if not isinstance(inner, dict) or "content" not in inner:
        return value
    if "type" in inner or "type" not in value:
        return inner
    names = value.get("id")
    name = names[-1] if isinstance(names, list) and names else value["type"]
    return inner | {"type": text_of(name).lower().removesuffix("chunk").removesuffix("message")}


class _Parts:
    """Collects what the parts of one message say, ask for and report."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.calls: list[ToolCall] = []
        self.results: list[ToolResult] = []

    def read(self, content: Any) -> None:
        for part in content if isinstance(content, list) else [content]:
            if isinstance(part, dict):
                self.part(part)
            elif said := text_of(part):
                self.texts.append(said)

    def part(self, part: dict[str, Any]) -> None:
        kind = _kind(part)
        if not kind:
            for wrapper in _WRAPPED:
                if isinstance(part.get(wrapper), dict):
                    kind, part = wrapper, part[wrapper]
        if kind in _CALLS:
            self.call(part)
        elif kind in _RESULTS:
            self.result(part)
        elif kind in _THOUGHTS or part.get("thought") is True:
            return
        elif kind not in _MEDIA and isinstance(said := _first(part, "content", "text", "refusal"), str):
            self.texts.append(text_of(said))
        elif kind:
            self.texts.append(f"[{(text_of(part.get('modality')) or kind)[:40]}]")

    def call(self, value: Any) -> None:
        if not isinstance(value, dict):
            return
        function = value.get("function")
        source = function if isinstance(function, dict) else value
        name = text_of(_first(source, "name", "toolName"))
        arguments = _first(source, "arguments", "input", "args", "server_tool_call")
        call_id = text_of(_first(value, "call_id", "id", "toolUseId", "toolCallId"))
        if name or call_id:
            self.calls.append(ToolCall(call_id, name, canonical_json(arguments)))

    def result(self, part: dict[str, Any]) -> None:
        call_id = text_of(
            _first(part, "call_id", "tool_call_id", "tool_use_id", "id", "toolUseId", "toolCallId")
        )
        value = _first(part, "response", "result", "content", "output", "server_tool_call_response")
        name = text_of(_first(part, "name", "toolName"))
        self.results.append(ToolResult(call_id, name, result_text(value), _failed(part)))


def read_result(raw: str) -> ToolResult:
    """What a tool span says it returned: text, text blocks, or a tool message of LangChain's."""
    if raw[:1] in ("{", "[") and '"tool_call_id"' in raw:
        messages = read_messages(raw, "tool").messages
        if len(messages) == 1 and len(messages[0].results) == 1:
            return messages[0].results[0]
    said = blocks_text(load_json(raw)) if raw.startswith("[{") else None
    return ToolResult("", "", well_formed(raw) if said is None else said)


def result_text(value: Any) -> str:
    if _tagged(value):
        value = value["value"]
    said = blocks_text(value)
    return text_of(value) if said is None else said


def _tagged(value: Any) -> TypeGuard[dict[str, Any]]:
    """Vercel's results say of what type they are."""
    return isinstance(value, dict) and value.keys() == {"type", "value"}


def blocks_text(value: Any) -> str | None:
    """The text of a list of text blocks (results of MCP servers, of Anthropic's tools); None for all else."""
    if not isinstance(value, list) or not value:
        return None
    texts = [_block_text(block) if isinstance(block, dict) else None for block in value]
    return text_of("\n".join(map(str, texts))) if all(isinstance(said, str) for said in texts) else None


def _block_text(block: dict[str, Any]) -> Any:
    return block.get("text", block.get("content") if block.get("type") == "text" else None)


def _first(value: dict[str, Any], *keys: str) -> Any:
    for key in keys:
        found = value.get(key)
        if found is not None:
            return found
    return None


def _kind(value: dict[str, Any]) -> str:
    kind = value.get("type")
    return kind if isinstance(kind, str) else ""


def _failed(value: dict[str, Any]) -> bool:
    """Anthropic's, Vercel's and LangChain's marks of a tool that failed."""
    output = value.get("output")
    return (
        value.get("is_error") is True
        or value.get("isError") is True
        or value.get("status") == "error"
        or (_tagged(output) and text_of(output["type"]).startswith("error"))
    )
