"""The body of a chat completion, as servers really send it: nothing in it is taken for granted."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


class NotACompletionError(ValueError):
    """Something else answered with status 200: a web page, a proxy, another API."""


class ReportedError(ValueError):
    """An error object in an answer with status 200, as gateways send it; `body` is that object."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(str(body.get("message") or "the server reported an error"))
        self.body = body


@dataclass(frozen=True, slots=True)
class Completion:
    text: str
    finish_reason: str
    model: str
    usage: tuple[int, int, int] | None
    """Input, output and cached tokens; None when the server did not say and there is something to bill."""


def read(body: bytes, content_type: str) -> Completion:
    """The first choice of a completion. Raises NotACompletionError and ReportedError."""
    # The content type only names what came: some servers send good JSON as text/plain.
    sent = content_type.partition(";")[0].strip().lower() if body else ""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        raise NotACompletionError(f"it sent {sent or 'no content'}") from None
    if not isinstance(answer, dict) or "choices" not in answer:
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            raise ReportedError(answer["error"])
        raise NotACompletionError(f"it sent {sent or 'JSON'} without choices")
    choices = answer["choices"]
    first = choices[0] if isinstance(choices, list) and choices else None
    text = _object(_object(first).get("message")).get("content")
    return Completion(
        # A lone surrogate, which JSON can spell, could be neither sent back nor counted.
        text.encode("utf-8", "replace").decode() if isinstance(text, str) else "",
        str(_object(first).get("finish_reason") or ""),
        str(answer.get("model") or ""),
        _usage(answer.get("usage")) or (None if first is not None else (0, 0, 0)),
    )


def _usage(usage: Any) -> tuple[int, int, int] | None:
    if not isinstance(usage, dict):
        return None
    cached = _object(usage.get("prompt_tokens_details")).get("cached_tokens")
    return _whole(usage.get("prompt_tokens")), _whole(usage.get("completion_tokens")), _whole(cached)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
