"""How much may be in hand at once, over all transports and signals."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tracetaxa.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator


class Room:
    """Bytes of requests that are being received or wait for their commit, and how many requests that may be.

    Receivers and GroupCommits share one room. A request that is larger than the room passes when nothing else
    waits.
    """

    def __init__(self, max_mib: float = 256, max_requests: int = 1024) -> None:
        self._max_bytes = int(max_mib * 2**20)
        self._max_requests = max_requests
        self.used_bytes = 0
        self.requests = 0
        self.turned_away = 0
        """Requests for which there was no room before anything of them was looked at."""

    def has(self, size_bytes: int) -> bool:
        return not self.used_bytes or self.used_bytes + size_bytes <= self._max_bytes

    @contextmanager
    def place(self, retry_after_seconds: float) -> Iterator[Place]:
        """One request's place, from its first byte to its answer. Raises Overloaded when all are taken."""
        if self.requests >= self._max_requests:
            self.turned_away += 1
            raise Overloaded("too many requests are under way: send it again later", retry_after_seconds)
        self.requests += 1
        place = Place(self, retry_after_seconds)
        try:
            yield place
        finally:
            place.clear()
            self.requests -= 1


class Place:
    """What one request takes of a room while it is being received."""

    def __init__(self, room: Room, retry_after_seconds: float) -> None:
        self._room = room
        self._retry_after_seconds = retry_after_seconds
        self._bytes = 0

    def expect(self, size_bytes: int) -> None:
        """Raises Overloaded when there is no room for so many bytes more."""
        others = self._room.used_bytes - self._bytes
        if others and not self._room.has(size_bytes):
            self._room.turned_away += 1
            raise Overloaded(
                "too much waits to be stored already: send it again later", self._retry_after_seconds
            )

    def grow(self, size_bytes: int) -> None:
        """So many bytes more have come. Raises Overloaded."""
        self.expect(size_bytes)
        self._room.used_bytes += size_bytes
        self._bytes += size_bytes

    def clear(self) -> None:
        """Its bytes are in other hands; it still counts as a request."""
        self._room.used_bytes -= self._bytes
        self._bytes = 0
