"""Doubles for tests of what is built on tracetaxa: a model that says what you script.

`ScriptedModel` is a real HTTP server on loopback that speaks OpenAI's chat completions, so the whole client
side runs as it does against a provider. `OracleModel` answers tracetaxa's own prompts from a ground truth.

    with ScriptedModel(lambda messages, schema: {"answer": 42}) as model:
        chat = OpenAIChat("any-name", base_url=model.base_url)

    with OracleModel(lambda digest: ("Refunds", "Late refund") if "refund" in digest else None) as oracle:
        ...  # OPENAI_BASE_URL=oracle.base_url tracetaxa analyze topics
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

Messages = Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer with its details; a plain `str` or `dict` stands for `Reply(…)`."""

    content: str | dict[str, Any]
    finish_reason: str = "stop"
    """`length` marks a reply that was cut."""
    delay_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer: an HTTP error in OpenAI's form, or a connection that closes in the middle (`disconnect`)."""

    status: int = 500
    message: str = "The server had an error while processing your request."
    code: str | None = None
    parameter: str | None = None
    retry_after: str | None = None
    """The Retry-After header, as it goes out."""
    disconnect: bool = False
    delay_seconds: float = 0.0


Answer = Callable[[Messages, Mapping[str, Any] | None], "str | dict[str, Any] | Reply | Failure"]
"""(messages, JSON schema asked for or None) → what to answer. Called from several threads."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that arrived: its JSON body and what was answered."""

    body: Mapping[str, Any]
    authorization: str
    status: int

    @property
    def messages(self) -> Messages:
        messages: Messages = self.body.get("messages", [])
        return messages


@dataclass(slots=True)
class Counted:
    """What the server would bill: answers that it sent, and their tokens."""

    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


def count_tokens(text: str) -> int:
    """A tokenizer simple enough to repeat by hand: four letters or digits, or one other sign, are a token."""
    return len(re.findall(r"\w{1,4}|[^\w\s]", text))


class ScriptedModel:
    """Serves `/v1/chat/completions` and `/v1/models`; a context manager. Port 0 unless told otherwise.

    `api_key`: another key gets 401. `response_formats`: other types get 400. `refused_parameters`: requests
    with one of them get 400. `report_usage=False` leaves `usage` out, `tokenizer` counts it. `requests` holds
    what came, in the order of the answers, `usage` what was billed.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        model: str = "scripted",
        api_key: str | None = None,
        response_formats: Sequence[str] = ("json_schema", "json_object"),
        refused_parameters: Sequence[str] = (),
        report_usage: bool = True,
        tokenizer: Callable[[str], int] = count_tokens,
        port: int = 0,
    ) -> None:
        self.answer = answer
        self.model = model
        self.requests: list[Request] = []
        self.usage = Counted()
        self._api_key = api_key
        self._response_formats = tuple(response_formats)
        self._refused_parameters = tuple(refused_parameters)
        self._report_usage = report_usage
        self._tokens_of = tokenizer
        self._port = port
        self._lock = threading.Lock()
        self._prefixes: set[str] = set()
        self._server: ThreadingHTTPServer | None = None

    @property
    def base_url(self) -> str:
        """Ends in /v1. Known once the server runs."""
        if self._server is None:
            raise RuntimeError("the scripted model is not running: use it in a `with` block")
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", self._port), type("Handler", (_Handler,), {"model": self}))
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    # ---------------------------------------------------------------------------------------- answering

    def respond(self, body: Mapping[str, Any], authorization: str) -> Reply | Failure:
        """What to answer a chat completion with; the HTTP side calls it."""
        failure = self._refusal(body, authorization)
        if failure is not None:
            return failure
        said = self.answer(body["messages"], _schema(body))
        return said if isinstance(said, Reply | Failure) else Reply(said)

    def _refusal(self, body: Mapping[str, Any], authorization: str) -> Failure | None:
        if self._api_key is not None and authorization != f"Bearer {self._api_key}":
            key = authorization.removeprefix("Bearer ")
            return Failure(401, f"Incorrect API key provided: {key}.", code="invalid_api_key")
        for name in self._refused_parameters:
            if name in body:
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                return Failure(400, message, code="unsupported_parameter", parameter=name)
        wanted = body.get("response_format", {}).get("type", "text")
        if wanted not in ("text", *self._response_formats):
            return Failure(
                400, f"This response_format type is unavailable: {wanted}", parameter="response_format"
            )
        return None

    def completion(self, body: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
        """The response body; counts what it costs."""
        text = reply.content if isinstance(reply.content, str) else json.dumps(reply.content)
        sent = [self._tokens_of(str(m["content"])) + 4 for m in body["messages"]]
        output = self._tokens_of(text)
        with self._lock:
            cached = self._cached(body["messages"], sent)
            self.usage.calls += 1
            self.usage.input_tokens += sum(sent)
            self.usage.cached_tokens += cached
            self.usage.output_tokens += output
            number = self.usage.calls
        usage = {
            "prompt_tokens": sum(sent),
            "completion_tokens": output,
            "total_tokens": sum(sent) + output,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
        return {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 0,
            "model": body.get("model", self.model),
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "finish_reason": reply.finish_reason,
                }
            ],
            **({"usage": usage} if self._report_usage else {}),
        }

    def _cached(self, messages: Messages, tokens: Sequence[int]) -> int:
        """As OpenAI does it: whole leading messages seen before, from 1,024 tokens, in steps of 128."""
        cached, prefix = 0, hashlib.sha256()
        for message, count in zip(messages, tokens, strict=True):
            prefix.update(json.dumps(message, sort_keys=True).encode())
            if prefix.hexdigest() not in self._prefixes:
                self._prefixes.add(prefix.hexdigest())
                continue
            cached += count
        return cached // 128 * 128 if cached >= 1024 else 0

    def record(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Quiet: a client may go away, and a script that raises has answered 500 already."""


class _Handler(BaseHTTPRequestHandler):
    model: ScriptedModel
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        listed = {"object": "list", "data": [{"id": self.model.model, "object": "model"}]}
        self._send(200, listed) if self.path.endswith("/models") else self._send(
            404, _error(Failure(404, "Not found"))
        )

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.path.endswith("/chat/completions"):
            self._send(404, _error(Failure(404, f"Invalid URL (POST {self.path})")))
            return
        body = json.loads(raw)
        authorization = self.headers.get("Authorization", "")
        try:
            said = self.model.respond(body, authorization)
        except Exception as error:  # a bug in the script: the client should see it, and not hang
            said = Failure(500, f"the script raised {type(error).__name__}: {error}")
        if said.delay_seconds:
            time.sleep(said.delay_seconds)
        status = 200 if isinstance(said, Reply) else 0 if said.disconnect else said.status
        self.model.record(Request(body, authorization, status))
        if isinstance(said, Reply):
            self._send(200, self.model.completion(body, said))
        elif said.disconnect:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"id": "chatcmpl-')
            self.close_connection = True
        else:
            self._send(said.status, _error(said), said.retry_after)

    def _send(self, status: int, body: Mapping[str, Any], retry_after: str | None = None) -> None:
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def _error(failure: Failure) -> dict[str, Any]:
    return {
        "error": {
            "message": failure.message,
            "type": "invalid_request_error" if failure.status < 500 else "server_error",
            "param": failure.parameter,
            "code": failure.code,
        }
    }


def _schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema of the response format, or the one spelled out in the prompt."""
    wanted = body.get("response_format", {})
    if wanted.get("type") == "json_schema":
        schema: Mapping[str, Any] = wanted["json_schema"]["schema"]
        return schema
    for message in body["messages"]:
        _, found, rest = message["content"].partition("JSON Schema:\n")
        if found:
            spelled_out: Mapping[str, Any] = json.JSONDecoder().raw_decode(rest)[0]
            return spelled_out
    return None


# ---------------------------------------------------------------------------------------- failures


def flaky(
    answer: Answer,
    *,
    garbage: float = 0.0,
    rate_limited: float = 0.0,
    disconnects: float = 0.0,
    seed: int = 0,
) -> Answer:
    """`answer`, with these shares of the requests failing.

    Which ones depends on the seed, the request and how often it came, not on the order of arrival.
    """
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def answer_or_fail(
        messages: Messages, schema: Mapping[str, Any] | None
    ) -> str | dict[str, Any] | Reply | Failure:
        request = hashlib.sha256(json.dumps(list(messages), sort_keys=True).encode()).hexdigest()
        with lock:
            seen[request] += 1
            draw = random.Random(f"{seed} {request} {seen[request]}").random()
        if draw < garbage:
            return "I'm sorry, here is my {answer: [so far"
        if draw < garbage + rate_limited:
            return Failure(
                429, "Rate limit reached, please try again.", code="rate_limit_exceeded", retry_after="0"
            )
        if draw < garbage + rate_limited + disconnects:
            return Failure(disconnect=True)
        return answer(messages, schema)

    return answer_or_fail


# ---------------------------------------------------------------------------------------- the oracle

Truth = Callable[[str], "tuple[str, str] | None"]
"""Digest as the model sees it ("user: …" lines) → names of category and subcategory; None fits nothing."""

_PIECE = re.compile(r"<<<data (\S+)>>>\n(.*?)\n?<<<end \1>>>", re.DOTALL)
_CONTROL = re.compile(r"^control: label this piece (\S+)$", re.MULTILINE)
_KIND = re.compile(r"^(k\d+) \(\d+ (?:traces|sessions)\): (.*)$", re.MULTILINE)
_LABEL = re.compile(r'^ *- ([a-z0-9_]+) "([^"]*)":', re.MULTILINE)
_SEPARATOR = " / "


def data_of(messages: Messages) -> str:
    """The message with the data of a request: examples come before it, and what the client says to an
    unusable reply after it."""
    said = [m["content"] for m in messages if m["role"] == "user"]
    return next(text for text in reversed(said) if "<<<data " in text)


def pieces(messages: Messages) -> dict[str, str]:
    """The pieces of data in a request by their keys, without the control (see `controls`)."""
    return {key: text for key, text in _PIECE.findall(data_of(messages)) if not _CONTROL.match(text)}


def controls(messages: Messages) -> dict[str, str]:
    """Keys of the pieces that tracetaxa put in itself, with the label that they must get."""
    found = {key: _CONTROL.match(text) for key, text in _PIECE.findall(data_of(messages))}
    return {key: match[1] for key, match in found.items() if match}


@dataclass(slots=True)
class Oracle:
    """Answers tracetaxa's prompts from `truth`: proposes the true kinds, groups them by category and
    subcategory, labels each trace with its own, and quotes the first line that can be evidence. A prompt that
    asks for no JSON gets "OK".

    Names should be short, plain and without " / "; the same subcategory name may stand under two categories.
    `attributes` gives the values to extract from a digest.
    """

    truth: Truth
    attributes: Callable[[str], Mapping[str, Any]] = field(default=lambda digest: {})
    confidence: float = 0.9

    def __call__(self, messages: Messages, schema: Mapping[str, Any] | None) -> Any:
        if schema is None:
            return "OK"
        asked = next(iter(schema.get("properties", {})), "")
        instructions, told = messages[0]["content"], pieces(messages)
        if asked == "kinds":
            return {"kinds": self._kinds(told)}
        if asked == "categories":
            return {"categories": self._groups("\n".join(told.values()))}
        if asked == "labels":
            properties = schema["properties"]["labels"]["items"]["properties"]
            names = list(properties.get("attributes", {}).get("properties", {}))
            labels = [self._label(key, text, instructions, names) for key, text in told.items()]
            labels += [_repeat(key, label, names) for key, label in controls(messages).items()]
            return {"labels": labels}
        if asked == "quotes":
            return {"quotes": [{"key": key, "evidence": _first_line(text)} for key, text in told.items()]}
        raise ValueError(f"the oracle knows tracetaxa's own prompts only, not one that asks for {asked!r}")

    def _kinds(self, blocks: Mapping[str, str]) -> list[dict[str, Any]]:
        members: dict[tuple[str, str], list[str]] = {}
        for key, text in blocks.items():
            true = self.truth(text)
            if true is not None:
                members.setdefault(true, []).append(key)
        return [
            {"name": _SEPARATOR.join(kind), "description": f"Traces of {kind[1]}.", "members": keys}
            for kind, keys in sorted(members.items())
        ]

    def _groups(self, listing: str) -> list[dict[str, Any]]:
        """By category at the top level; by subcategory inside a category, whose name the listing gives."""
        level = 1 if listing.startswith("category: ") else 0
        groups: dict[str, list[str]] = {}
        for key, text in _KIND.findall(listing):
            name = text.partition(": ")[0].split(_SEPARATOR)
            groups.setdefault(name[min(level, len(name) - 1)], []).append(key)
        return [{"name": n, "description": f"Traces of {n}.", "kinds": keys} for n, keys in groups.items()]

    def _label(self, key: str, text: str, instructions: str, attributes: Sequence[str]) -> dict[str, Any]:
        values = self.attributes(text) if attributes else {}
        return {
            "key": key,
            "evidence": _first_line(text),
            "reason": "The ground truth says so.",
            "label": _label_id(self.truth(text), instructions),
            "confidence": self.confidence,
            **({"attributes": {name: values.get(name) for name in attributes}} if attributes else {}),
        }


def _repeat(key: str, label: str, attributes: Sequence[str]) -> dict[str, Any]:
    """The answer that a control asks for."""
    nothing = {"attributes": dict.fromkeys(attributes)} if attributes else {}
    said = {"key": key, "evidence": f"label this piece {label}", "reason": "It says so.", "confidence": 1.0}
    return {**said, "label": label, **nothing}


class OracleModel(ScriptedModel):
    """A `ScriptedModel` whose answers come from an `Oracle`. Further options are those of `ScriptedModel`."""

    def __init__(
        self, truth: Truth, *, attributes: Callable[[str], Mapping[str, Any]] | None = None, **options: Any
    ) -> None:
        super().__init__(Oracle(truth, attributes) if attributes else Oracle(truth), **options)


def _label_id(true: tuple[str, str] | None, instructions: str) -> str:
    """The id that the prompt gives for the true names: the subcategory's if it exists."""
    if true is None:
        return "other"
    labels = _LABEL.findall(instructions)
    parents = [identity for identity, name in labels if name == true[0] and "__" not in identity]
    for parent in parents:
        for identity, name in labels:
            if identity.startswith(f"{parent}__") and name == true[1]:
                return str(identity)
        return str(parent)
    return "other"


def _first_line(digest: str) -> str:
    """The beginning, without its kind, of the first line that can be evidence; short ones come last."""
    lines = [(kind, text) for kind, _, text in (line.partition(": ") for line in digest.splitlines())]
    told = [text for kind, text in lines if kind in ("user", "assistant", "tool", "error") and text]
    text = next((text for text in told if len(text) >= 8), told[0] if told else "")
    return text if len(text) <= 80 else text[:80].rpartition(" ")[0] or text[:80]
