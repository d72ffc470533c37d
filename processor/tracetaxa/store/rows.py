"""Records ↔ rows: `field_name` is column `FieldName`, and `time_ns` is the DateTime64(9) column `Time`."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


def columns_of(record: type[Any]) -> dict[str, str]:
    """Column name → field name, in the record's order."""
    return {_column(f.name): f.name for f in fields(record)}


def _column(field_name: str) -> str:
    return "".join(part.capitalize() for part in field_name.removesuffix("_ns").split("_"))


def to_columns(records: Sequence[Any]) -> tuple[list[str], list[list[Any]]]:
    """Records of one type → (column names, one list a column), as a column-oriented insert takes them."""
    mapping = columns_of(type(records[0]))
    return list(mapping), [[_plain(getattr(r, name)) for r in records] for name in mapping.values()]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def to_records(into: type[T], names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[T]:
    """Result rows → records; columns that the record does not have are left out."""
    mapping = columns_of(into)
    wanted = [(i, mapping[name]) for i, name in enumerate(names) if name in mapping]
    return [into(**{field: _frozen(row[i]) for i, field in wanted}) for row in rows]


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
