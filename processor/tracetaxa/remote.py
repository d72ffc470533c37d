"""Asking the running service that owns an embedded database to do work."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import TYPE_CHECKING, Any

from tracetaxa.errors import ConfigError, RunFailed, StoreUnavailable
from tracetaxa.records import Standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tracetaxa.protocols import Watcher


def run_remotely(
    endpoint: str, token: str | None, request: Mapping[str, Any], progress: Watcher
) -> dict[str, Any]:
    """Run an analysis in the service at `endpoint`; returns the result as `analyze --format json` prints it.

    An interrupt closes the connection, which cancels the run. Raises ConfigError for a request that the
    service refuses, RunFailed, and StoreUnavailable when the service can't be reached or goes away.
    """
    with _answer(endpoint, token, "/v1/runs", request) as response:
        for line in response:
            message = json.loads(line)
            if "result" in message:
                result: dict[str, Any] = message["result"]
                return result
            if "error" in message:
                kind = ConfigError if message.get("exit_code") == 2 else RunFailed
                raise kind(message["error"])
            standing = message.get("standing")
            progress(
                message["stage"],
                message["done"],
                message["total"],
                Standing(**standing) if standing is not None else None,
            )
    raise StoreUnavailable(f"the service at {endpoint} stopped before the run was done")


def quote_remotely(endpoint: str, token: str | None, request: Mapping[str, Any]) -> dict[str, Any]:
    """What such a run would cost, as `analyze --dry-run --format json` prints it.

    Raises ConfigError for a request that the service refuses, and StoreUnavailable.
    """
    with _answer(endpoint, token, "/v1/quotes", request) as response:
        quote: dict[str, Any] = json.loads(response.read())
        return quote


def label_remotely(endpoint: str, token: str | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """What became of a label by a person. Raises ConfigError when it is refused, and StoreUnavailable."""
    with _answer(endpoint, token, "/v1/labels", given) as response:
        made: dict[str, Any] = json.loads(response.read())["labels"][0]
        return made


@contextlib.contextmanager
def _answer(
    endpoint: str, token: str | None, path: str, request: Mapping[str, Any]
) -> Iterator[http.client.HTTPResponse]:
    """The answer to a POST; the connection is closed behind it."""
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection(endpoint)
    try:
        connection.request("POST", path, json.dumps(dict(request)), headers)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise ConfigError(_error_text(response.read()))
        yield response
    except (OSError, http.client.HTTPException) as error:
        raise StoreUnavailable(f"the service at {endpoint} does not answer: {error}") from error
    finally:
        connection.close()


def _error_text(body: bytes) -> str:
    try:
        answer = json.loads(body)
        return str(answer["refused"][0]["error"] if "refused" in answer else answer["error"])
    except (ValueError, LookupError, TypeError):
        return body.decode("utf-8", "replace")[:500]
