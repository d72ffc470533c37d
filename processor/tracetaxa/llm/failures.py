"""What a failed model call means: try later, step down, give this request up, or give the run up."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal

import openai

from tracetaxa.llm.completion import NotACompletionError, ReportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

_MESSAGE_CHARS = 400
_SHORTEST_SECRET = 8
"""A shorter key is a placeholder ("none") for servers that want no key, and an ordinary word."""

_NO_MONEY = re.compile(
    r"insufficient_quota|exceeded your current quota|credit balance|billing", re.IGNORECASE
)
_NO_MODEL = re.compile(
    r"model_not_found|model\b.{0,80}(?:does not exist|not found)|(?:invalid|unknown) model", re.IGNORECASE
)

_LIMITED = 429
_CROWDED = (408, _LIMITED, 503, 529)
"""Statuses that a server with too much to do answers with; 529 is Anthropic's."""
_NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")
"""Errors of the HTTP client from before it sent anything."""

Meaning = Literal["later", "adapt", "refused", "foreign"]


@dataclass(frozen=True, slots=True)
class Failure:
    meaning: Meaning
    """`later`: the same request may work; `adapt`: this request can't as it is; `refused`: none will;
    `foreign`: what answered is not the API."""
    message: str
    parameter: str = ""
    retry_after_seconds: float | None = None
    crowded: bool = False
    """The server has too much to do, as far as one can tell."""
    limited: bool = False
    """Refused by a rate limit: nothing is wrong with the request, and it was not served."""
    lost: bool = False
    """Sent, and no answer came: the server may have worked, and bill it."""


def read(error: Exception, *, secret: str = "", timeout_seconds: float = 0.0) -> Failure:
    """Sort a failed call by what to do next; `secret` is left out of the message."""
    if isinstance(error, NotACompletionError):
        return Failure("foreign", plain(str(error), secret), lost=True)
    if isinstance(error, ReportedError):
        code = error.body.get("code")
        status = code if isinstance(code, int) and 400 <= code < 600 else 500
        return _by_status(status, plain(str(error), secret), f"{code} {error.body.get('type')}", "", None)
    if isinstance(error, openai.APIStatusError):
        body = error.body if isinstance(error.body, dict) else {}
        message = plain(str(body.get("message") or error.message), secret)
        wait = retry_after(error.response.headers)
        return _by_status(
            error.status_code, message, f"{error.code} {error.type}", str(error.param or ""), wait
        )
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return Failure("later", f"no answer within {timeout_seconds:g} s", crowded=True, lost=True)
    cause = error.__cause__
    sent = type(cause).__name__ not in _NOT_SENT
    detail = f" ({type(cause).__name__}: {cause})" if cause is not None else ""
    return Failure("later", plain(f"{str(error) or type(error).__name__}{detail}", secret), lost=sent)


def _by_status(status: int, message: str, kind: str, parameter: str, wait: float | None) -> Failure:
    told = f"{kind} {message}"
    if status in (401, 402, 403) or (status in (400, 429) and _NO_MONEY.search(told)):
        advice = "check the key and the account" if status == 401 else "check the account and its limits"
        return Failure("refused", f"{message} (HTTP {status}; {advice})")
    if status == 404 or (status == 400 and _NO_MODEL.search(told)):
        return Failure("refused", f"{message} (HTTP {status}; check the model's name and the base URL)")
    if status in (408, 409, 425, 429) or status >= 500:
        return Failure(
            "later",
            f"{message} (HTTP {status})",
            retry_after_seconds=wait,
            crowded=status in _CROWDED,
            limited=status == _LIMITED,
        )
    return Failure("adapt", f"{message} (HTTP {status})", parameter=parameter)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: RFC 9110 section 10.2.3, or OpenAI's `retry-after-ms`."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - time.time()
            except ValueError:
                continue
        return max(seconds, 0.0) if seconds == seconds else None
    return None


def plain(text: str, secret: str = "") -> str:
    """One printable line without the secret: a provider's message is shown on terminals."""
    if len(secret) >= _SHORTEST_SECRET:
        text = text.replace(secret, "[key]")
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _MESSAGE_CHARS else f"{line[:_MESSAGE_CHARS]}…"
