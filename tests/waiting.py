"""Waiting for what a process does, with an end."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 60.0


def wait_until(done: Callable[[], bool], told: Callable[[], Any], *, seconds: float = SECONDS) -> None:
    """Fails with what `told` says when it takes too long."""
    deadline, beat = time.monotonic() + seconds, threading.Event()
    while not done():
        assert time.monotonic() < deadline, told()
        beat.wait(0.05)
