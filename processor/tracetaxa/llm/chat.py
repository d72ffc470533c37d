"""A chat model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
import os
import random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import openai

from tracetaxa.errors import EngineUnavailable, ModelRefused, ModelReplyInvalid, ModelUnavailable
from tracetaxa.llm import completion, failures, replies
from tracetaxa.llm.capabilities import Capabilities
from tracetaxa.llm.prices import Overrides, cost_usd
from tracetaxa.protocols import ChatReply
from tracetaxa.records import Spend

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OPENAI = "https://api.openai.com/v1"
_ECHO_CHARS = 2000
"""How much of an unusable reply the model is shown again."""
_MOST_ADAPTATIONS = 8
_BYTES_PER_TOKEN = 4
"""For endpoints that report no usage."""


class OpenAIChat:
    """`ChatModel` over chat completions: every compatible server has that call.

    One loop counts all attempts of an answer: calls that fail for now are repeated after the time the server
    asks for (a pause that holds back the client's other calls too) or an exponential backoff with jitter; a
    reply that is cut, is not JSON or does not match the schema is asked again with the error told to the
    model. What an endpoint does not accept is remembered (see `Capabilities`). The key appears in no message,
    log or repr.

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
        prices: Overrides | None = None,
    ) -> None:
        """`base_url` and `api_key` default to OPENAI_BASE_URL and OPENAI_API_KEY.

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
        self._prices = prices
        # Servers other than OpenAI may ignore the newer name, and with it the limit.
        self._capabilities = (
            Capabilities() if official else Capabilities(limits=("max_tokens", "max_completion_tokens"))
        )
        self._slots = asyncio.Semaphore(max_concurrency)
        self._quiet_until = 0.0
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
    ) -> ChatReply:
        """One chat completion; with a schema, `data` is JSON that matches it. Tokens include failed attempts.

        Raises ModelRefused, ModelUnavailable and ModelReplyInvalid as `ChatModel` says; a request that the
        endpoint rejects for what is in it (too long, filtered) is ModelReplyInvalid.
        """
        conversation = list(messages)
        used = [0, 0, 0]
        problem = ""
        for attempt in range(1, self._max_attempts + 1):
            failure = None
            try:
                answer = await self._send(conversation, schema, max_tokens)
            except (openai.OpenAIError, TimeoutError, ValueError) as error:
                failure = failures.read(error, secret=self._key, timeout_seconds=self._timeout_seconds)
            if failure is not None:  # out of the handler: the client's error, chained, could show the key
                await self._handle(failure, attempt)
                continue
            used = [a + b for a, b in zip(used, self._count(answer, conversation), strict=True)]
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
        self, messages: Sequence[Mapping[str, str]], schema: Mapping[str, Any] | None, max_tokens: int
    ) -> completion.Completion:
        """One request; where the endpoint refuses a form, the next form at once."""
        async with self._slots:
            for _ in range(_MOST_ADAPTATIONS):
                await self._pause()
                tried = self._capabilities
                request = tried.request(messages, schema, max_tokens, self._options)
                try:
                    # The client's own timeout is per read: a server that drips would never end.
                    async with asyncio.timeout(self._timeout_seconds):
                        # The raw body: the client's own reading takes anything for a completion.
                        response = await self._client.chat.completions.with_raw_response.create(
                            model=self.name, **request
                        )
                    return completion.read(response.content, response.headers.get("content-type", ""))
                except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                    failure = failures.read(error, secret=self._key)
                    simpler = tried.after_refusal(failure.parameter, str(error))
                    if failure.meaning != "adapt" or simpler is None:
                        raise
                    # Another call may have learnt the same meanwhile: never step down twice for one reason.
                    if self._capabilities == tried:
                        self._capabilities = simpler
            raise ModelReplyInvalid(f"{self.name} at {self._host} accepts no form of the request")

    async def _pause(self) -> None:
        clock = asyncio.get_running_loop().time
        while (wait := self._quiet_until - clock()) > 0:  # noqa: ASYNC110  (another call may have moved it)
            await asyncio.sleep(wait)

    async def _handle(self, failure: failures.Failure, attempt: int) -> None:
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
        wait = failure.retry_after_seconds
        if attempt >= self._max_attempts or (wait or 0) > self._max_retry_after_seconds:
            raise ModelUnavailable(f"{message} ({_attempts(attempt)}); try again later")
        if wait is not None:
            now = asyncio.get_running_loop().time()
            self._quiet_until = max(self._quiet_until, now + wait)
        else:
            longest = min(self._backoff_seconds * 2 ** (attempt - 1), self._max_backoff_seconds)
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
        if tokens is None:
            sent = sum(len(m["content"].encode()) for m in messages)
            tokens = (sent // _BYTES_PER_TOKEN, len(answer.text.encode()) // _BYTES_PER_TOKEN, 0)
        cost = cost_usd(self.name, self._provider, *tokens, self._prices)
        if cost is None:  # a deployment's name says nothing: the answer may name the model
            cost = cost_usd(answer.model, self._provider, *tokens, self._prices)
        self._spend = Spend(
            calls=self._spend.calls + 1,
            input_tokens=self._spend.input_tokens + tokens[0],
            output_tokens=self._spend.output_tokens + tokens[1],
            cost_usd=self._spend.cost_usd + (cost or 0.0),
        )
        return tokens


def _attempts(number: int) -> str:
    return f"{number} attempt{'' if number == 1 else 's'}"
