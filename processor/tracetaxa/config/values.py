"""What single settings hold: durations, endpoints, cron expressions."""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    Field,
)

NAME_PATTERN = r"^[a-z][a-z0-9_]*$"
"""Names of analyses, categories' ids and attributes: they become parts of span attribute names."""

_DURATION = re.compile(r"^\s*(\d+)\s*([smhdw])\s*$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def duration_seconds(text: str) -> int:
    """'90s', '15m', '24h', '7d', '2w' → seconds. Raises ValueError."""
    match = _DURATION.match(text)
    if not match or int(match[1]) == 0:
        raise ValueError(f"{text!r} is not a duration such as 15m, 24h or 7d")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > LARGEST:
        raise ValueError(f"{text!r} is longer than a hundred years")
    return seconds


def _duration(text: str) -> str:
    duration_seconds(text)
    return text


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """'127.0.0.1:4317' or '[::1]:4317' → (host, port). Raises ValueError."""
    host, colon, port = endpoint.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{endpoint!r} is not host:port (port 0 means any free port)")
    return host.strip("[]"), int(port)


def _endpoint(text: str) -> str:
    split_endpoint(text)
    return text


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or any(c.isspace() for c in text):
        raise ValueError(f"{text!r} is not a URL such as https://models.example/v1")
    return text


def _header_name(text: str) -> str:
    name = text.lower()
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or name.startswith("grpc-") or name.endswith("-bin"):
        raise ValueError(f"{text!r} is not a header that both gRPC and HTTP can carry, such as x-api-key")
    return name


def _cron(text: str) -> str:
    try:
        # Only the five fields of cron: the library also takes seconds before them.
        if len(text.split()) != 5:
            raise CronSimError("five fields are needed")
        next(CronSim(text, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(
            f"{text!r} is not a cron expression such as '0 3 * * *' (minute, hour, day of month, month, "
            f"day of week): {str(error).lower()}"
        ) from error
    except StopIteration:
        raise ValueError(f"{text!r} names a time that never comes") from None
    return text


def _time_zone(text: str) -> str:
    try:
        if text != "UTC":  # which needs no time zone database
            ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"{text!r} is not a time zone that this machine knows, such as UTC or Europe/Berlin "
            "(a machine without a time zone database needs the package tzdata)"
        ) from error
    return text


Endpoint = Annotated[str, AfterValidator(_endpoint)]
Url = Annotated[str, AfterValidator(_url)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
Duration = Annotated[str, AfterValidator(_duration)]
CronExpression = Annotated[str, AfterValidator(_cron)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Effort = Literal["default", "none", "minimal", "low", "medium", "high"]
LARGEST = 3_153_600_000.0
"""A hundred years in seconds, or as much of anything else that is more than zero."""
MOST = 1_000_000_000
"""Of anything that is counted: more would not fit where it is used, and nobody means it."""
MOST_MIB = 1_048_576
"""Of memory."""
MOST_DAYS = 25_000
"""That anything is kept: ClickHouse counts a time's seconds in 32 bits, until 2106."""
Positive = Annotated[float, Field(gt=0, le=LARGEST)]


def unknown(key: str, known: list[str], what: str = "key") -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    return f"unknown {what} {key!r}; {hint}"
