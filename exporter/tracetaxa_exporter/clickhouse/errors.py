"""What can go wrong between OTLP and ClickHouse."""

from __future__ import annotations


class WriteFailed(Exception):
    """Nothing, or not everything, of a write is stored.

    `retryable` answers one question: could the same data be stored later? Then the sender should keep it.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class TableMismatch(Exception):
    """A table has the name of ours and other columns."""


class ServerTooOld(Exception):
    """This ClickHouse can't read protobuf in the way that spans need."""
