"""One GET, as a browser or a probe would send it."""

from __future__ import annotations

import urllib.error
import urllib.request

SECONDS = 60


def get(endpoint: str, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and body."""
    asked = urllib.request.Request(f"http://{endpoint}{path}", headers=headers or {})
    try:
        with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
