"""What becomes of an Export request: taken, taken in part, refused for good, or not now.

The tables are those of the OTLP specification (opentelemetry-proto, docs/specification.md: "Failures" of
OTLP/gRPC, "Retryable Response Codes" of OTLP/HTTP).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Fault = Literal["data", "size", "access", "other"]

RETRYABLE_CODES: Final = frozenset(
    {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
)
"""gRPC statuses; RESOURCE_EXHAUSTED is one of them only with RetryInfo."""
RETRYABLE_STATUSES: Final = frozenset({429, 502, 503, 504})
"""HTTP statuses."""

_FAULTS: Final[dict[str | int, Fault]] = {
    "INVALID_ARGUMENT": "data",
    "RESOURCE_EXHAUSTED": "size",
    "UNAUTHENTICATED": "access",
    "PERMISSION_DENIED": "access",
    "UNIMPLEMENTED": "access",
    "NOT_FOUND": "access",
    400: "data",
    422: "data",
    413: "size",
    # Redirects are not followed: a token must not go where nobody sent it.
    301: "access",
    302: "access",
    303: "access",
    307: "access",
    308: "access",
    401: "access",
    403: "access",
    404: "access",
    405: "access",
    407: "access",
}


@dataclass(frozen=True, slots=True)
class Taken:
    """The destination has the request, but for `rejected` spans, which must not be sent again."""

    rejected: int = 0
    message: str = ""
    """Why, or a warning when nothing was rejected."""


class ExportFailed(Exception):
    """The request was not taken; the same request may be taken later."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        """What the destination asked for, None when it did not."""


class ExportRefused(Exception):
    """The request was not taken, and must not be sent again as it is.

    fault: what would have to change. `data`: a span in it; `size`: there is too much in it; `access`: the
    configuration, here or there (address, credentials); `other`: nobody knows.
    """

    def __init__(self, message: str, fault: Fault) -> None:
        super().__init__(message)
        self.fault = fault


def failure(
    status: str | int, message: str, retry_after_seconds: float | None = None
) -> ExportFailed | ExportRefused:
    """The error for a gRPC status by its name, or an HTTP status."""
    retryable = (
        status in RETRYABLE_CODES
        or status in RETRYABLE_STATUSES
        or (status == "RESOURCE_EXHAUSTED" and retry_after_seconds is not None)
    )
    if retryable:
        return ExportFailed(message, retry_after_seconds)
    return ExportRefused(message, _FAULTS.get(status, "other"))
