"""The chat client against a real HTTP server that misbehaves in the ways providers do."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracetaxa.errors import EngineUnavailable, ModelError, ModelRefused, ModelReplyInvalid, ModelUnavailable
from tracetaxa.llm import replies
from tracetaxa.llm.chat import OpenAIChat
from tracetaxa.llm.failures import retry_after
from tracetaxa.llm.pace import Pace
from tracetaxa.records import Spend
from tracetaxa.testing import Failure, OracleModel, Reply, ScriptedModel, flaky

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tracetaxa.protocols import ChatReply
    from tracetaxa.testing import Answer

KEY = "sk-test-0123456789abcdef"
SCHEMA = {
    "type": "object",
    "properties": {"color": {"type": "string", "enum": ["red", "blue"]}},
    "required": ["color"],
    "additionalProperties": False,
}
ASK = [{"role": "system", "content": "You name colors."}, {"role": "user", "content": "The sky?"}]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def script(*answers: Any) -> Answer:
    """Answers one after the other, the last one from then on."""
    left = list(answers)
    return lambda messages, schema: left.pop(0) if len(left) > 1 else left[0]


def ask(model: ScriptedModel, *, schema: Any = SCHEMA, times: int = 1, **options: Any) -> ChatReply:
    """The last of `times` answers of one client."""

    async def run() -> ChatReply:
        chat = client(model, **options)
        try:
            for _ in range(times):
                reply = await chat.complete(ASK, schema=schema, max_tokens=50)
            assert chat.spend.calls == model.usage.calls
            assert chat.spend.input_tokens == model.usage.input_tokens
            assert chat.spend.output_tokens == model.usage.output_tokens
        finally:
            await chat.close()
            await chat.close()
        return reply

    return asyncio.run(run())


def client(model: ScriptedModel, **options: Any) -> OpenAIChat:
    defaults = {"api_key": KEY, "backoff_seconds": 0.001}
    return OpenAIChat("scripted", base_url=model.base_url, **(defaults | options))


def formats(model: ScriptedModel) -> Sequence[str]:
    return [r.body.get("response_format", {}).get("type", "text") for r in model.requests]


# ---------------------------------------------------------------------------------------- answers


def test_a_schema_is_asked_for_strictly_and_the_reply_is_data() -> None:
    with ScriptedModel(script({"color": "blue"}), api_key=KEY) as model:
        reply = ask(model)
    assert reply.data == {"color": "blue"}
    assert reply.model == "scripted"
    assert (reply.input_tokens, reply.output_tokens) == (model.usage.input_tokens, model.usage.output_tokens)
    asked = model.requests[0].body["response_format"]["json_schema"]
    assert asked["strict"] is True
    assert asked["schema"] == SCHEMA
    assert model.requests[0].body["max_tokens"] == 50


def test_without_a_schema_the_reply_is_text() -> None:
    with ScriptedModel(script("Blue.")) as model:
        reply = ask(model, schema=None)
    assert (reply.text, reply.data) == ("Blue.", None)
    assert formats(model) == ["text"]


@pytest.mark.parametrize(
    ("accepted", "tried"),
    [
        (("json_object",), ["json_schema", "json_object", "json_object"]),
        ((), ["json_schema", "json_object", "text", "text"]),
    ],
)
def test_an_endpoint_without_structured_output_is_asked_in_words_and_remembered(
    accepted: tuple[str, ...], tried: list[str]
) -> None:
    answer = script('Sure!\n```json\n{"color": "blue"}\n```')
    with ScriptedModel(answer, response_formats=accepted) as model:
        assert ask(model, times=2).data == {"color": "blue"}
    assert formats(model) == tried
    assert json.dumps(SCHEMA, separators=(",", ":")) in model.requests[-1].messages[0]["content"]


def test_many_calls_at_once_step_down_only_once() -> None:
    together = threading.Barrier(6, timeout=30)  # all six are refused before any of them learns it

    def answer(messages: Any, schema: Any) -> Any:
        if "JSON Schema" in str(messages):
            return {"color": "red"}
        together.wait()
        return Failure(400, "This response_format type is unavailable now", parameter="response_format")

    with ScriptedModel(answer) as model:
        assert [r.data for r in complete_all(model, 6)] == [{"color": "red"}] * 6
    assert sorted(formats(model)) == ["json_object"] * 6 + ["json_schema"] * 6


@pytest.mark.parametrize(
    "refused", [("max_tokens",), ("temperature",), ("max_tokens", "temperature", "reasoning_effort")]
)
def test_parameters_that_a_model_refuses_are_left_out(refused: tuple[str, ...]) -> None:
    with ScriptedModel(script({"color": "red"}), refused_parameters=refused) as model:
        assert ask(model, times=2, reasoning_effort="none").data == {"color": "red"}
    assert not set(refused) & set(model.requests[-1].body)
    assert len(model.requests) == len(refused) + 2
    limit = "max_completion_tokens" if "max_tokens" in refused else "max_tokens"
    assert model.requests[-1].body[limit] == 50


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ("The sky is blue.", "no JSON"),
        ('{"color": "blu', "not valid JSON"),
        ({"color": "green"}, "must be one of"),
        (Reply('{"color": "blue"}', finish_reason="length"), "cut off after 50 tokens"),
        ("", "empty"),
    ],
)
def test_an_unusable_reply_is_asked_again_with_the_reason(bad: Any, told: str) -> None:
    with ScriptedModel(script(bad, {"color": "blue"})) as model:
        reply = ask(model)
    assert reply.data == {"color": "blue"}
    assert reply.input_tokens == model.usage.input_tokens  # of both calls: both were billed
    assert told in model.requests[1].messages[-1]["content"]
    assert (
        model.requests[1].messages[: len(ASK)] == ASK
        or "JSON Schema" in model.requests[1].messages[0]["content"]
    )


def test_a_reply_cut_short_gets_twice_the_room() -> None:
    with ScriptedModel(script(Reply('{"col', finish_reason="length"), {"color": "blue"})) as model:
        ask(model)
    assert [r.body["max_tokens"] for r in model.requests] == [50, 100]


def test_an_endpoint_that_ignores_the_schema_gets_it_in_words() -> None:
    def answer(messages: Any, schema: Any) -> Any:
        return {"color": "red"} if "JSON Schema" in messages[0]["content"] else "Red, I think."

    with ScriptedModel(answer) as model:
        assert ask(model, times=3).data == {"color": "red"}
    assert len(model.requests) == 4


def test_garbage_for_ever_is_given_up_and_billed() -> None:
    async def run(model: ScriptedModel) -> OpenAIChat:
        chat = client(model, max_attempts=3)
        with pytest.raises(ModelReplyInvalid, match="no usable reply in 3 attempts"):
            await chat.complete(ASK, schema=SCHEMA, max_tokens=50)
        await chat.close()
        return chat

    with ScriptedModel(script("nonsense")) as model:
        chat = asyncio.run(run(model))
    assert len(model.requests) == 3
    assert chat.spend.input_tokens == model.usage.input_tokens > 0


@contextmanager
def serving(*answers: tuple[str, bytes] | dict[str, Any]) -> Iterator[tuple[str, list[int]]]:
    """A server with status 200 for everything: (content type, body) or an object sent as JSON, in turn, the
    last one from then on. Gives its address and counts its requests."""
    left, came = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            came.append(1)
            said = left.pop(0) if len(left) > 1 else left[0]
            kind, body = ("application/json", json.dumps(said).encode()) if isinstance(said, dict) else said
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", came
    finally:
        server.shutdown()
        server.server_close()


def ask_at(base_url: str, *, times: int = 1) -> tuple[ChatReply | None, ModelError | None, Spend]:
    """The last reply or the first error, and what was spent."""

    async def run() -> tuple[ChatReply | None, ModelError | None, Spend]:
        chat = OpenAIChat("gpt-6-luna", base_url=base_url, api_key=KEY, backoff_seconds=0.001)
        reply = None
        try:
            for _ in range(times):
                reply = await chat.complete(ASK, schema=SCHEMA, max_tokens=50)
        except ModelError as error:
            return None, error, chat.spend
        finally:
            await chat.close()
        return reply, None, chat.spend

    return asyncio.run(run())


def whole(content: Any = '{"color": "red"}', **changes: Any) -> dict[str, Any]:
    choices = [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return {"model": "m", "choices": choices, "usage": usage} | changes


PAGE = ("text/html; charset=utf-8", b"<!doctype html><title>Sign in</title>")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (PAGE, r"it sent text/html\)"),
        (("application/json", b"{}"), r"it sent application/json without choices\)"),
        (("application/json", b"[1]"), "without choices"),
        (("application/json", b'{"object": "list", "data": []}'), "without choices"),
        (("application/json", b"\xfe\xff\x00"), r"it sent application/json\)"),
        (("application/json", b"[" * 100_000), r"it sent application/json\)"),
        (("text/plain", b""), r"it sent no content\)"),
    ],
)
def test_what_is_no_such_api_is_refused_at_once_and_costs_nothing(
    answer: tuple[str, bytes], told: str
) -> None:
    with serving(answer) as (url, came):
        reply, error, spend = ask_at(url.replace("http://", "http://me:secret@"))
    assert reply is None
    assert isinstance(error, ModelRefused)
    assert re.search(
        rf"^{re.escape(url)}/? does not answer like an OpenAI-compatible API .*{told}", str(error)
    )
    assert str(error).endswith("check the base URL")
    assert len(came) == 1
    assert spend == Spend()


def test_a_page_from_an_address_that_has_answered_well_is_a_passing_fault() -> None:
    with serving(whole(), PAGE, whole()) as (url, came):
        reply, _, spend = ask_at(url, times=2)
    assert reply is not None
    assert len(came) == 3
    assert (spend.calls, spend.input_tokens, spend.output_tokens) == (2, 20, 10)


def test_the_body_counts_and_not_what_the_server_calls_it() -> None:
    with serving(("text/plain", json.dumps(whole()).encode("utf-8-sig"))) as (url, _):
        reply, _, _ = ask_at(url)
    assert reply is not None
    assert reply.data == {"color": "red"}


@pytest.mark.parametrize(
    "odd",
    [
        whole(choices=[], usage=None),
        whole(choices=None),
        whole(7),
        whole("\ud800", usage=None),
        whole(choices=["?"], usage="?"),
        whole(choices=[{"message": None}]),
    ],
)
def test_a_completion_without_text_is_asked_again(odd: dict[str, Any]) -> None:
    with serving(odd, whole()) as (url, came):
        reply, _, spend = ask_at(url)
    assert reply is not None
    assert reply.data == {"color": "red"}
    assert len(came) == 2
    assert spend.calls == 2


def test_tokens_are_not_made_up_for_an_answer_without_a_choice() -> None:
    with serving(whole(choices=[], usage=None), whole()) as (url, _):
        _, _, spend = ask_at(url)
    assert (spend.input_tokens, spend.output_tokens) == (10, 5)


@pytest.mark.parametrize(
    ("code", "attempts", "kind"),
    [(502, 4, ModelUnavailable), ("overloaded", 4, ModelUnavailable), (401, 1, ModelRefused)],
)
def test_an_error_that_a_gateway_sends_with_status_200_is_that_error(
    code: Any, attempts: int, kind: type[ModelError]
) -> None:
    with serving({"error": {"message": "Provider returned error", "code": code}}) as (url, came):
        _, error, spend = ask_at(url)
    assert type(error) is kind
    assert "Provider returned error" in str(error)
    assert len(came) == attempts
    assert spend == Spend()


# ---------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    "failure",
    [
        Failure(429, "Rate limit reached", code="rate_limit_exceeded", retry_after="0.01"),
        Failure(503, "Overloaded", retry_after="Fri, 01 Jan 2021 00:00:00 GMT"),
        Failure(500),
        Failure(408, "Timeout"),
        Failure(disconnect=True),
    ],
)
def test_what_fails_for_now_is_tried_again(failure: Failure) -> None:
    with ScriptedModel(script(failure, failure, {"color": "red"})) as model:
        assert ask(model).data == {"color": "red"}
    assert len(model.requests) == 3


def test_the_time_that_a_server_asks_for_is_waited() -> None:
    arrived: list[float] = []

    def answer(messages: Any, schema: Any) -> Any:
        arrived.append(time.monotonic())
        return {"color": "red"} if len(arrived) > 1 else Failure(429, "Slow down", retry_after="0.2")

    with ScriptedModel(answer) as model:
        ask(model)
    assert arrived[1] - arrived[0] >= 0.2


def test_refusals_for_the_rate_are_no_attempts() -> None:
    busy = Failure(429, "Rate limit reached", code="rate_limit_exceeded", retry_after="0")
    with ScriptedModel(script(*[busy] * 6, "garbage", {"color": "red"})) as model:
        assert ask(model, max_attempts=2).data == {"color": "red"}
    assert [r.status for r in model.requests] == [429] * 6 + [200, 200]


def test_refusals_for_the_rate_are_not_waited_out_for_ever() -> None:
    busy = Failure(429, "Rate limit reached", code="rate_limit_exceeded")
    with (
        ScriptedModel(script(busy)) as model,
        pytest.raises(ModelUnavailable, match=r"Rate limit reached.*3 attempts"),
    ):
        ask(model, max_attempts=3, max_wait_seconds=0)
    assert len(model.requests) == 3


def test_a_server_that_is_too_busy_is_asked_less_at_once() -> None:
    """It takes two calls at once and refuses the others; they come one after the other then."""
    under_way: list[int] = []
    lock = threading.Lock()

    def answer(messages: Any, schema: Any) -> Any:
        with lock:
            if len(under_way) >= 2:
                return Failure(429, "Too many requests", retry_after="0")
            under_way.append(1)
        time.sleep(0.01)
        with lock:
            under_way.pop()
        return {"color": "red"}

    pace = Pace(8)
    with ScriptedModel(answer) as model:
        assert len(complete_all(model, 60, pace=pace)) == 60
    refused = sum(request.status == 429 for request in model.requests)
    assert 0 < refused < 60
    assert pace.concurrency < 8


def test_a_server_that_never_recovers_is_unavailable() -> None:
    with (
        ScriptedModel(script(Failure(500, "boom"))) as model,
        pytest.raises(ModelUnavailable, match=r"boom.*4 attempts"),
    ):
        ask(model)
    assert len(model.requests) == 4


def test_an_excessive_retry_after_is_not_waited_for() -> None:
    busy = Failure(429, "Come back tomorrow", retry_after="86400")
    with ScriptedModel(script(busy)) as model, pytest.raises(ModelUnavailable, match="Come back tomorrow"):
        ask(model)
    assert len(model.requests) == 1


@pytest.mark.parametrize(("attempts", "told"), [(1, "1 attempt"), (2, "2 attempts")])
def test_a_slow_answer_is_a_failed_attempt(attempts: int, told: str) -> None:
    with (
        ScriptedModel(script(Reply({"color": "red"}, delay_seconds=0.5))) as model,
        pytest.raises(ModelUnavailable, match=rf"no answer within 0\.05 s \({told}\); try again later$"),
    ):
        ask(model, timeout_seconds=0.05, max_attempts=attempts)


def test_nobody_listens() -> None:
    with ScriptedModel(script("unused")) as model:
        url = model.base_url
    chat = OpenAIChat("scripted", base_url=url, api_key=KEY, max_attempts=2, backoff_seconds=0.001)
    with pytest.raises(ModelUnavailable, match=r"127\.0\.0\.1.*Connection error"):
        asyncio.run(chat.complete(ASK, max_tokens=5))


def test_a_wrong_key_is_refused_with_the_providers_words_and_without_the_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        ScriptedModel(script("unused"), api_key="another") as model,
        pytest.raises(ModelRefused, match="Incorrect API key provided") as refused,
    ):
        ask(model)
    assert len(model.requests) == 1
    chain: BaseException | None = refused.value
    while chain is not None:
        assert KEY not in repr(chain)
        chain = chain.__cause__ or chain.__context__
    assert KEY not in caplog.text
    assert KEY not in repr(OpenAIChat("m", api_key=KEY, base_url="http://user:secret@localhost:1/v1"))
    assert "secret" not in repr(OpenAIChat("m", api_key=KEY, base_url="http://user:secret@localhost:1/v1"))


@pytest.mark.parametrize(
    "failure",
    [
        Failure(403, "Country not supported"),
        Failure(402, "Insufficient Balance"),
        Failure(404, "The model `x` does not exist", code="model_not_found"),
        Failure(400, "invalid model ID", code="invalid_model"),
        Failure(429, "You exceeded your current quota", code="insufficient_quota"),
    ],
)
def test_what_no_retry_can_mend_is_refused_at_once(failure: Failure) -> None:
    with ScriptedModel(script(failure)) as model, pytest.raises(ModelRefused, match=failure.message):
        ask(model)
    assert len(model.requests) == 1


def test_a_request_that_is_rejected_for_its_content_concerns_that_request_alone() -> None:
    too_long = Failure(400, "maximum context length is 8192 tokens", code="context_length_exceeded")
    with (
        ScriptedModel(script(too_long)) as model,
        pytest.raises(ModelReplyInvalid, match="maximum context length"),
    ):
        ask(model)
    assert len(model.requests) == 1


def test_terminal_escapes_of_a_provider_do_not_get_through() -> None:
    with (
        ScriptedModel(script(Failure(403, "no\x1b[31m\u202eway"))) as model,
        pytest.raises(ModelRefused, match="way") as refused,
    ):
        ask(model)
    assert str(refused.value).isprintable()


def complete_all(model: ScriptedModel, calls: int, **options: Any) -> list[ChatReply]:
    """`calls` different questions at once."""

    async def run(model: ScriptedModel) -> list[ChatReply]:
        chat = client(model, **options)
        try:
            return await asyncio.gather(
                *(
                    chat.complete([{"role": "user", "content": f"number {i}"}], schema=SCHEMA, max_tokens=50)
                    for i in range(calls)
                )
            )
        finally:
            await chat.close()

    return asyncio.run(run(model))


def test_calls_under_way_are_as_many_as_allowed_and_not_more() -> None:
    together = threading.Barrier(3, timeout=30)  # opens only when three calls are under way
    under_way: list[int] = []

    def answer(messages: Any, schema: Any) -> Any:
        under_way.append(1)
        together.wait()
        most.append(len(under_way))
        together.wait()
        under_way.pop()
        return {"color": "red"}

    most: list[int] = []
    with ScriptedModel(answer) as model:
        complete_all(model, 9, max_concurrency=3)
    assert most == [3] * 9


def test_failures_in_between_lose_nothing() -> None:
    unreliable = flaky(script({"color": "red"}), garbage=0.2, rate_limited=0.1, disconnects=0.1, seed=1)
    with ScriptedModel(unreliable) as model:
        answers = complete_all(model, 40, max_attempts=8)
    assert [r.data for r in answers] == [{"color": "red"}] * 40
    assert {r.status for r in model.requests} == {0, 200, 429}


def test_openai_needs_a_key_and_other_endpoints_do_not() -> None:
    with pytest.raises(EngineUnavailable, match="OPENAI_API_KEY"):
        OpenAIChat("gpt-6-luna")
    assert OpenAIChat("gpt-6-luna", base_url="http://localhost:1/v1").name == "gpt-6-luna"


def test_cost_is_counted_with_the_price_of_the_model_and_its_cached_tokens() -> None:
    long = [{"role": "system", "content": "word " * 3000}, {"role": "user", "content": "The sky?"}]

    async def run(model: ScriptedModel) -> OpenAIChat:
        chat = OpenAIChat("gpt-6-luna", base_url=model.base_url)
        for _ in range(2):
            await chat.complete(long, schema=SCHEMA, max_tokens=50)
        await chat.close()
        return chat

    with ScriptedModel(script({"color": "red"})) as model:
        chat = asyncio.run(run(model))
    fresh = model.usage.input_tokens - model.usage.cached_tokens
    expected = (fresh * 0.1 + model.usage.cached_tokens * 0.01 + model.usage.output_tokens * 0.5) / 1e6
    assert model.usage.cached_tokens > 2000
    assert chat.spend.cost_usd == pytest.approx(expected)
    assert chat.spend.cached_tokens == model.usage.cached_tokens
    assert chat.spend.unpriced_calls == 0


def test_usage_is_estimated_where_none_is_reported() -> None:
    async def run(model: ScriptedModel) -> ChatReply:
        chat = client(model)
        try:
            return await chat.complete(ASK, schema=SCHEMA, max_tokens=50)
        finally:
            await chat.close()

    with ScriptedModel(script({"color": "red"}), report_usage=False) as model:
        reply = asyncio.run(run(model))
    assert reply.input_tokens > 0
    assert reply.output_tokens > 0


def test_the_oracle_answers_a_probe() -> None:
    with OracleModel(lambda digest: None) as model:

        async def run() -> ChatReply:
            chat = client(model)
            try:
                return await chat.complete(
                    [{"role": "user", "content": "Answer with the word OK."}], max_tokens=16
                )
            finally:
                await chat.close()

        assert asyncio.run(run()).text == "OK"


# ---------------------------------------------------------------------------------------- parsing


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"color": "red"}', "red"),
        ('<think>maybe {"color": "blue"}?</think>{"color": "red"}', "red"),
        ('See [1]: {"color": "red"} and {"color": "blue"}', "red"),
        ('{oops {"color": "red"}', "red"),
    ],
)
def test_the_first_value_counts(text: str, found: str) -> None:
    assert replies.read(text, SCHEMA) == {"color": found}


@given(st.text() | st.text(alphabet='{}[]":,color red\\u0'))
def test_no_reply_breaks_the_reader(text: str) -> None:
    try:
        data = replies.read(text, SCHEMA)
    except replies.UnusableReplyError:
        return
    assert data in ({"color": "red"}, {"color": "blue"})


@pytest.mark.parametrize("text", ["{" * 100_000, '{"a":' * 100_000, '{"color": NaN}'])
def test_hostile_replies_are_refused(text: str) -> None:
    with pytest.raises(replies.UnusableReplyError):
        replies.read(text, SCHEMA)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Fri, 01 Jan 2021 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds
