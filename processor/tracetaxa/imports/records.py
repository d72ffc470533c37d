"""One JSON value to one chat, whatever its shape: messages, a logged model call, ShareGPT, one exchange.

[message, …]                                          OpenAI, LangSmith's chat histories, LangChain
{"messages": […], …}                                  the same with what is known about the chat
{"request": {"messages": …}, "response": {…}}         a logged call; also input/output, inputs/outputs, body
{"conversations": [{"from": "human", "value": …}]}    ShareGPT
{"input": "…", "output": "…"}                         one question and its answer
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.values import limited, text_of, well_formed
from tracetaxa.imports.messages import (
    TIME_KEYS,
    is_message,
    read_messages,
    read_tokens,
    with_call_ids,
)
from tracetaxa.imports.rows import BadRow, Chat, Said, Tokens
from tracetaxa.imports.sharegpt import SHAREGPT_KEYS, is_sharegpt, read_sharegpt
from tracetaxa.imports.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping

CONVERSATION_KEYS = (
    "conversation_id",
    "conversationId",
    "thread_id",
    "threadId",
    "session_id",
    "sessionId",
    "chat_id",
    "dialog_id",
    "dialogue_id",
)
USER_KEYS = ("user_id", "userId", "user", "enduser_id")
ASKED_KEYS = ("request", "req", "input", "inputs", "body", "prompt", "question", "query", "user_message")
ANSWERED_KEYS = (
    "response",
    "resp",
    "output",
    "outputs",
    "completion",
    "answer",
    "reply",
    "assistant_message",
)
START_KEYS = ("start_time", "startTime", "started_at", *TIME_KEYS)
END_KEYS = ("end_time", "endTime", "ended_at", "finished_at")
_TOOLS_AND_SUCH = frozenset(
    {"messages", "tools", "functions", "metadata", "usage", "model", "system", "error"}
)
_MAX_METADATA = 48


def is_chat(value: Any) -> bool:
    """Whether a value is meant as one chat, good or bad."""
    if isinstance(value, list):
        return bool(value) and all(is_message(item) for item in value)
    if not isinstance(value, dict):
        return False
    return "messages" in value or is_sharegpt(value) or any(key in value for key in ASKED_KEYS)


def read_chat(value: Any) -> Chat:
    """Raises BadRow."""
    if isinstance(value, list):
        return _chat_of({}, value)
    if not isinstance(value, dict):
        raise BadRow("neither an object nor a list of messages")
    if is_sharegpt(value):
        system, said = read_sharegpt(value)
        return _described(value, system, said)
    if isinstance(value.get("messages"), list):
        answer = next((value[key] for key in ANSWERED_KEYS if value.get(key)), None)
        if answer is None and isinstance(value.get("choices"), list):
            answer = {"choices": value["choices"], "usage": value.get("usage")}
        return _chat_of(value, value["messages"]) if answer is None else read_call(value, value, answer)
    if "messages" in value:
        raise BadRow("messages is not a list")
    asked = next((value[key] for key in ASKED_KEYS if value.get(key)), None)
    if asked is None:
        raise BadRow(
            f"no chat in it: expected messages, conversations, or input and output; it has {_keys(value)}"
        )
    return read_call(value, asked, next((value[key] for key in ANSWERED_KEYS if value.get(key)), None))


# ------------------------------------------------------------------------------------------------- shapes


def _chat_of(record: Mapping[str, Any], messages: list[Any]) -> Chat:
    if len(messages) == 1 and isinstance(messages[0], list):
        messages = messages[0]  # LangChain's batches of one
    system, said = read_messages(messages)
    return _described(record, (*_system(record), *system), said)


def read_call(record: Mapping[str, Any], asked: Any, answered: Any) -> Chat:
    """A logged call: all that it was given is history, but for the user's last words."""
    request = _body(asked)
    model = request.get("model") if isinstance(request, dict) else None
    given, alone = _asked(request)
    system, history = read_messages(given)
    facts = request if isinstance(request, dict) and not alone else {}
    response = _body(answered)
    answers, told = _answered(response)
    later_system, said = read_messages(answers)
    if len(said) > len(history) > 0 and all(
        one.message.key == again.message.key for one, again in zip(history, said, strict=False)
    ):
        said = said[len(history) :]  # a graph's state repeats what it was given
    if said and told is not None and said[-1].tokens == Tokens():
        said[-1] = replace(said[-1], tokens=told)
    # Answers and tool results that the call was given belong to calls before it.
    earlier = max((i + 1 for i, one in enumerate(history) if one.message.role != "user"), default=0)
    more = {key: facts[key] for key in (*CONVERSATION_KEYS, *USER_KEYS, "metadata") if key in facts}
    prompts = dict.fromkeys((*_system(facts), *system, *later_system))
    chat = _described({**more, **record}, tuple(prompts), with_call_ids([*history, *said]))
    told_by = response if isinstance(response, dict) else {}
    start_ns = chat.start_ns if chat.start_ns or chat.end_ns else _time(told_by, START_KEYS)
    return replace(
        chat,
        history=earlier,
        model=_text(told_by.get("model")) or chat.model or _text(model),
        start_ns=start_ns,
    )


def _asked(request: Any) -> tuple[list[Any], bool]:
    """Messages that were given, and whether there was nothing but them."""
    if isinstance(request, str):
        return [{"role": "user", "content": request}], True
    if isinstance(request, list):
        inner = request[0] if len(request) == 1 and isinstance(request[0], list) else request
        return list(inner), True
    if not isinstance(request, dict):
        raise BadRow("what was asked is neither text nor messages")
    for key in ("messages", "chat_history", *ASKED_KEYS, "text", "content"):
        value = request.get(key)
        if isinstance(value, list | str) and value:
            return _asked(value)[0], False
    texts = [item for item in request.values() if isinstance(item, str) and item.strip()]
    if len(texts) == 1:
        return [{"role": "user", "content": texts[0]}], False
    raise BadRow(f"no messages in what was asked; it has {_keys(request)}")


def _answered(response: Any) -> tuple[list[Any], Tokens | None]:
    """Messages that were answered, and the call's tokens."""
    if response is None:
        return [], None
    if isinstance(response, str):
        return [{"role": "assistant", "content": response}], None
    if isinstance(response, list):
        return [
            item if is_message(item) else {"role": "assistant", "content": [item]} for item in response
        ], None
    if not isinstance(response, dict):
        return [{"role": "assistant", "content": text_of(response)}], None
    llm_output = response.get("llm_output")
    usages = (response.get("usage"), response.get("usage_metadata"))
    tokens = read_tokens(*usages, llm_output.get("token_usage") if isinstance(llm_output, dict) else None)
    return _messages_of(response), tokens


def _messages_of(response: dict[str, Any]) -> list[Any]:
    choices = response.get("choices")
    if isinstance(choices, list) and choices:  # other choices were not what the user saw
        first = choices[0] if isinstance(choices[0], dict) else {}
        message = first.get("message") or first.get("delta") or {"content": first.get("text")}
        message = message if isinstance(message, dict) else {"content": text_of(message)}
        return [{"role": "assistant", **message, "finish_reason": first.get("finish_reason")}]
    generations = response.get("generations")
    while isinstance(generations, list) and generations:
        generations = generations[0]
    if isinstance(generations, dict):
        message = generations.get("message")
        return [
            message
            if isinstance(message, dict)
            else {"role": "assistant", "content": generations.get("text")}
        ]
    if is_message(response):
        return [response]
    for key in ("messages", "message", *ANSWERED_KEYS, "text", "content"):
        value = response.get(key)
        if isinstance(value, dict) and not is_message(value):
            value = text_of(value)
        if value:
            return _answered(value if not isinstance(value, dict) else [value])[0]
    said = text_of({key: item for key, item in response.items() if key not in ("usage", "model", "id")})
    return [{"role": "assistant", "content": said}] if said != "{}" else []


def _body(value: Any) -> Any:
    return value["body"] if isinstance(value, dict) and isinstance(value.get("body"), dict) else value


# ------------------------------------------------------------------------------------------------- facts


def _described(record: Mapping[str, Any], system: tuple[str, ...], said: list[Said]) -> Chat:
    if not any(one.message.text or one.message.calls or one.message.results for one in said):
        raise BadRow("nothing is said in it")
    metadata = record.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    error = record.get("error")
    if isinstance(error, dict):
        error = error.get("message") or text_of(error)
    chat = Chat(
        messages=tuple(said),
        system=system,
        conversation=first_text(record, metadata, keys=CONVERSATION_KEYS) or _identity(record.get("id")),
        user=first_text(record, metadata, keys=USER_KEYS),
        model=_text(record.get("model")),
        start_ns=_time(record, START_KEYS),
        end_ns=_time(record, END_KEYS),
        error=_text(error) if isinstance(error, str) else "",
        metadata=_metadata(record, metadata),
    )
    tokens = read_tokens(record.get("usage"))
    last = max((i for i, one in enumerate(said) if one.message.role == "assistant"), default=-1)
    if tokens == Tokens() or last < 0 or any(one.tokens != Tokens() for one in said):
        return chat
    # Known for the chat as a whole: one of its calls must carry it.
    said[last] = replace(said[last], tokens=tokens)
    return replace(chat, messages=tuple(said))


def _system(record: Mapping[str, Any]) -> tuple[str, ...]:
    value = record.get("system") or record.get("instructions")
    if isinstance(value, list):
        value = "\n".join(text_of(part.get("text")) for part in value if isinstance(part, dict))
    return (well_formed(value),) if isinstance(value, str) and value.strip() else ()


def first_text(*records: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    return next((found for key in keys for record in records if (found := _identity(record.get(key)))), "")


def _identity(value: Any) -> str:
    if isinstance(value, str):
        return well_formed(value.strip())[:200]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**64 else ""


def _text(value: Any) -> str:
    return limited(value, 1000) if isinstance(value, str) else ""


def _time(record: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    for key in keys:
        value = record.get(key)
        if not isinstance(value, dict | list) and (found := parse_time(value)) is not None:
            return found
    return None


def _metadata(record: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What else is said about the chat: its metadata, and short values beside its messages."""
    known = {
        *CONVERSATION_KEYS,
        *USER_KEYS,
        *ASKED_KEYS,
        *ANSWERED_KEYS,
        *START_KEYS,
        *END_KEYS,
        *SHAREGPT_KEYS,
    }
    known |= {*_TOOLS_AND_SUCH, "id", "choices", "object", "instructions"}
    beside = {
        key: value
        for key, value in record.items()
        if key not in known and isinstance(value, str | int | float | bool)
    }
    tags = record.get("tags")
    if isinstance(tags, list) and tags and all(isinstance(tag, str) for tag in tags):
        beside["tags"] = ",".join(tags)
    return dict([*beside.items(), *metadata.items()][:_MAX_METADATA])


def _keys(value: Mapping[str, Any]) -> str:
    shown = ", ".join(text_of(key)[:30] for key in list(value)[:6])
    return shown or "nothing"
