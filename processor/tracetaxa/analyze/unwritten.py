"""A database for a run that is only rehearsed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tracetaxa.protocols import Database

T = TypeVar("T")


class Unwritten:
    """`Database` that answers questions and takes nothing."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def rows(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        return await self._db.rows(name, **parameters)

    async def raw_rows(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        return await self._db.raw_rows(name, **parameters)

    async def records(self, name: str, into: type[T], **parameters: Any) -> list[T]:
        return await self._db.records(name, into, **parameters)

    async def command(self, name: str, **parameters: Any) -> None:
        """Nothing."""

    async def insert(self, table: str, records: Sequence[Any]) -> None:
        """Nothing."""
