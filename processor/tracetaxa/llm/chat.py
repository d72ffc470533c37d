"""A chat model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import openai

from tracetaxa.errors import EngineUnavailable, ModelRefused, ModelReplyInvalid, ModelUnavailable
from tracetaxa.llm import completion, failures, replies
from tracetaxa.llm.capabilities import Capabilities
from tracetaxa.llm.pace import Pace
from tracetaxa.llm.prices import Overrides, cost_usd
from tracetaxa.llm.tokens import estimate_tokens
from tracetaxa.protocols import ChatReply
from tracetaxa.records import Spend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from tracetaxa.protocols import Admit, Attempt

_OPENAI = "https://api.openai.com/v1"
_ECHO_CHARS = 2000
"""How much of an unusable reply the model is shown again."""
_MOST_ADAPTATIONS = 8
_TRUSTED = 2
"""Failures of one answer after which the time that the server asks for is not enough."""
_MESSAGE_TOKENS = 4
"""Beside its text: what marks a message and its role."""


class _Unbilled:
    """The attempt of somebody who keeps no account."""

    def answered(self, input_tokens: int) -> None: ...

    def lost(self) -> None: ...


@contextlib.asynccontextmanager
async def _admit_all(messages: object, schema: object, max_tokens: int) -> AsyncIterator[Attempt]:
    yield _Unbilled()


class OpenAIChat:
    """`ChatModel` over chat completions: every compatible server has that call.

    One loop counts all attempts of an answer: calls that fail for now are repeated after the time the server
    asks for (a pause that holds back the model's other calls too) or an exponential backoff with jitter; a
    reply that is cut, is not JSON or does not match the schema is asked again with the error told to the
    model. A refusal by a rate limit is no attempt for the first `max_wait_seconds`; it and timeouts slow
    the model's calls down (see `Pace`). What an endpoint does not accept is remembered (see
    `Capabilities`). The key appears in no message, log or repr.

    Use it within one event loop; `close` may be called twice.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        provider: str = "",
        timeout_seconds: float = 120.0,
        max_attempts: int = 4,
        max_concurrency: int = 8,
        temperature: float | None = 0.0,
        reasoning_effort: str | None = None,
        backoff_seconds: float = 0.5,
        max_backoff_seconds: float = 30.0,
        max_retry_after_seconds: float = 120.0,
        max_wait_seconds: float = 300.0,
        pace: Pace | None = None,
        prices: Overrides | None = None,
    ) -> None:
        """`base_url` and `api_key` default to OPENAI_BASE_URL and OPENAI_API_KEY.

        `pace` is shared by clients of one model; None is one of its own, for `max_concurrency` calls.

        `reasoning_effort` goes to reasoning models as it is; None is the model's own default. `provider` is a
        `gen_ai.provider.name` for the price table. Raises EngineUnavailable when there is no key for OpenAI;
        other endpoints may need none.
        """
        self.name = model
        address = base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI
        key = api_key or os.environ.get("OPENAI_API_KEY") or ""
        official = urlsplit(address).hostname == urlsplit(_OPENAI).hostname
        if not key and official:
            raise EngineUnavailable(
                "the openai engine needs a key: set OPENAI_API_KEY, or a base URL of another endpoint, "
                "or use the local engine"
            )
        self._key = key
        parts = urlsplit(address)
        self._host = parts.netloc.rpartition("@")[2]
        self._address = f"{parts.scheme}://{self._host}{parts.path}"
        self._provider = provider or ("openai" if official else "")
        self._timeout_seconds = timeout_seconds
        self._max_attempts = max_attempts
        self._options = {"temperature": temperature, "reasoning_effort": reasoning_effort}
        self._backoff_seconds = backoff_seconds
        self._max_backoff_seconds = max_backoff_seconds
        self._max_retry_after_seconds = max_retry_after_seconds
        self._max_wait_seconds = max_wait_seconds
        self._pace = pace or Pace(max_concurrency)
        self._prices = prices
        # Servers other than OpenAI may ignore the newer name, and with it the limit.
        self._capabilities = (
            Capabilities() if official else Capabilities(limits=("max_tokens", "max_completion_tokens"))
        )
        self._spend = Spend()
        self._client = openai.AsyncOpenAI(
            base_url=address, api_key=key or "none", timeout=timeout_seconds, max_retries=0
        )

    def __repr__(self) -> str:
        return f"OpenAIChat({self.name!r}, host={self._host!r})"

    @property
    def spend(self) -> Spend:
        """Running total of every answer that came, unusable ones too: they were billed.

        `cost_usd` counts only what has a known price.
        """
        return self._spend

    async def complete(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int,
        admit: Admit | None = None,
    ) -> ChatReply:
        """One chat completion; with a schema, `data` is JSON that matches it. Tokens include failed attempts.

        Raises ModelRefused, ModelUnavailable and ModelReplyInvalid as `ChatModel` says; a request that the
        endpoint rejects for what is in it (too long, filtered) is ModelReplyInvalid.
        """
        conversation = list(messages)
        used = [0, 0, 0]
        problem = ""
        clock = asyncio.get_running_loop().time
        attempt, failures_seen, give_up_at = 0, 0, clock() + self._max_wait_seconds
        while attempt < self._max_attempts:
            attempt += 1
            failure = None
            try:
                answer, tokens = await self._send(conversation, schema, max_tokens, admit or _admit_all)
            except (openai.OpenAIError, TimeoutError, ValueError) as error:
                failure = failures.read(error, secret=self._key, timeout_seconds=self._timeout_seconds)
            if failure is not None:  # out of the handler: the client's error, chained, could show the key
                failures_seen += 1
                if failure.limited and clock() < give_up_at:
                    attempt -= 1
                await self._handle(failure, attempt, failures_seen)
                continue
            used = [a + b for a, b in zip(used, tokens, strict=True)]
            text, finish = answer.text, answer.finish_reason
            try:
                if finish == "length":
                    raise replies.UnusableReplyError(
                        f"it was cut off after {max_tokens} tokens; answer more briefly"
                    )
                if not text:
                    raise replies.UnusableReplyError("it is empty")
                data = replies.read(text, schema) if schema is not None else None
            except replies.UnusableReplyError as unusable:
                problem = str(unusable)
                conversation = self._ask_again(messages, text, problem, schema)
                if finish == "length":
                    max_tokens *= 2  # a reasoning model spends its room before it answers
                elif schema is not None:
                    self._capabilities = self._capabilities.spelled_out()
                continue
            return ChatReply(text, data, answer.model or self.name, *used)
        raise ModelReplyInvalid(
            f"{self.name} at {self._host} gave no usable reply in {_attempts(self._max_attempts)}: "
            f"{failures.plain(problem)}"
        )

    async def close(self) -> None:
        await self._client.close()

    # ---------------------------------------------------------------------------------------- one request

    async def _send(
        self,
        messages: Sequence[Mapping[str, str]],
        schema: Mapping[str, Any] | None,
        max_tokens: int,
        admit: Admit,
    ) -> tuple[completion.Completion, tuple[int, int, int]]:
        """One request, counted; where the endpoint refuses a form, the next form at once."""
        async with self._pace.turn():
            for _ in range(_MOST_ADAPTATIONS):
                tried = self._capabilities
                request = tried.request(messages, schema, max_tokens, self._options)
                expected = _tokens_of(request["messages"])
                began = await self._pace.ready(expected)
                async with admit(request["messages"], schema, max_tokens) as attempt:
                    try:
                        answer = await self._post(request)
                    except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                        failure = failures.read(error, secret=self._key)
                        simpler = tried.after_refusal(failure.parameter, str(error))
                        if failure.meaning != "adapt" or simpler is None:
                            raise
                        # Another call may have learnt it meanwhile: never step down twice for one reason.
                        if self._capabilities == tried:
                            self._capabilities = simpler
                        continue
                    except (openai.OpenAIError, TimeoutError, ValueError) as error:
                        failure = failures.read(error)
                        if failure.crowded:
                            self._pace.crowded(began)
                        if failure.lost:
                            attempt.lost()
                        raise
                    tokens = self._count(answer, request["messages"])
                    attempt.answered(tokens[0])
                self._pace.answered()
                self._pace.used(expected, tokens[0])
                return answer, tokens
            raise ModelReplyInvalid(f"{self.name} at {self._host} accepts no form of the request")

    async def _post(self, request: Mapping[str, Any]) -> completion.Completion:
        # The client's own timeout is per read: a server that drips would never end.
        async with asyncio.timeout(self._timeout_seconds):
            # The raw body: the client's own reading takes anything for a completion.
            response = await self._client.chat.completions.with_raw_response.create(
                model=self.name, **request
            )
        return completion.read(response.content, response.headers.get("content-type", ""))

    async def _handle(self, failure: failures.Failure, attempt: int, failures_seen: int) -> None:
        """Wait before the next attempt, or raise what ends this answer."""
        message = f"{self.name} at {self._host}: {failure.message}"
        if failure.meaning == "foreign" and not self._spend.calls:  # after a completion it is a passing fault
            raise ModelRefused(
                f"{self._address} does not answer like an OpenAI-compatible API ({failure.message}): "
                "check the base URL"
            )
        if failure.meaning == "refused":
            raise ModelRefused(message)
        if failure.meaning == "adapt":
            raise ModelReplyInvalid(f"{message}; the endpoint rejects this request")
        asked = failure.retry_after_seconds
        if attempt >= self._max_attempts or (asked or 0) > self._max_retry_after_seconds:
            raise ModelUnavailable(f"{message} ({_attempts(failures_seen)}); try again later")
        if asked is not None:
            self._pace.pause(asked)  # the next request waits, and those of others
        if asked is None or failures_seen > _TRUSTED:
            longest = min(self._backoff_seconds * 2 ** min(failures_seen - 1, 16), self._max_backoff_seconds)
            await asyncio.sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311

    # ---------------------------------------------------------------------------------------- replies

    def _ask_again(
        self, messages: Sequence[Mapping[str, str]], text: str, problem: str, schema: Mapping[str, Any] | None
    ) -> list[Mapping[str, str]]:
        complaint = f"That reply can't be used: {problem}. Answer the whole request again."
        if schema is not None:
            complaint += " Answer only with JSON that matches the schema."
        echo = [{"role": "assistant", "content": text[:_ECHO_CHARS]}] if text else []
        return [*messages, *echo, {"role": "user", "content": complaint}]

    def _count(
        self, answer: completion.Completion, messages: Sequence[Mapping[str, str]]
    ) -> tuple[int, int, int]:
        """Add an answer to the running total. Returns input, output and cached tokens."""
        tokens = answer.usage
        if tokens is None:  # not every endpoint says
            tokens = (_tokens_of(messages), estimate_tokens(answer.text), 0)
        cost = cost_usd(self.name, self._provider, *tokens, self._prices)
        if cost is None:  # a deployment's name says nothing: the answer may name the model
            cost = cost_usd(answer.model, self._provider, *tokens, self._prices)
        self._spend = Spend(
            calls=self._spend.calls + 1,
            input_tokens=self._spend.input_tokens + tokens[0],
            output_tokens=self._spend.output_tokens + tokens[1],
            cost_usd=self._spend.cost_usd + (cost or 0.0),
            cached_tokens=self._spend.cached_tokens + tokens[2],
            unpriced_calls=self._spend.unpriced_calls + (cost is None),
        )
        return tokens


def _tokens_of(messages: Sequence[Mapping[str, str]]) -> int:
    return sum(estimate_tokens(message["content"]) + _MESSAGE_TOKENS for message in messages)


def _attempts(number: int) -> str:
    return f"{number} attempt{'' if number == 1 else 's'}"
