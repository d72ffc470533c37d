"""Asking the running service that owns an embedded database to do work."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING, Any

from tracetaxa.errors import ConfigError, RunFailed, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracetaxa.protocols import Progress


def run_remotely(
    endpoint: str, token: str | None, request: Mapping[str, Any], progress: Progress
) -> dict[str, Any]:
    """Run an analysis in the service at `endpoint`; returns the result as `analyze --format json` prints it.

    An interrupt closes the connection, which cancels the run. Raises ConfigError for a request that the
    service refuses, RunFailed, and StoreUnavailable when the service can't be reached or goes away.
    """
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection(endpoint)
    try:
        connection.request("POST", "/v1/runs", json.dumps(dict(request)), headers)
        response = connection.getresponse()
        if response.status != 200:
            raise ConfigError(_error_text(response.read()))
        for line in response:
            message = json.loads(line)
            if "result" in message:
                result: dict[str, Any] = message["result"]
                return result
            if "error" in message:
                kind = ConfigError if message.get("exit_code") == 2 else RunFailed
                raise kind(message["error"])
            progress(message["stage"], message["done"], message["total"])
    except (OSError, http.client.HTTPException) as error:
        raise StoreUnavailable(f"the service at {endpoint} does not answer: {error}") from error
    finally:
        connection.close()
    raise StoreUnavailable(f"the service at {endpoint} stopped before the run was done")


def _error_text(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")[:500]
