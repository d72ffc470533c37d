"""Chats in tables: CSV files, and JSON rows of one message each.

A table has a row a message (`role`, `content`) or a row an exchange (`input`, `output`). Rows of one
conversation need not follow each other: they are sorted in a temporary file, not in memory.
"""

from __future__ import annotations

import csv
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracetaxa.errors import ConfigError
from tracetaxa.imports.messages import ROLES, TIME_KEYS
from tracetaxa.imports.records import CONVERSATION_KEYS, read_chat
from tracetaxa.imports.rows import BadLine, BadRow, ChatRow
from tracetaxa.imports.source import checked
from tracetaxa.imports.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tracetaxa.imports.source import Source

FIELDS: dict[str, tuple[str, ...]] = {
    "conversation": (
        *CONVERSATION_KEYS,
        "conversation",
        "thread",
        "session",
        "chat",
        "dialog",
        "dialogue",
        "conv_id",
    ),
    "role": ("role", "sender", "from", "author", "speaker", "sender_type", "author_role", "message_role"),
    "content": (
        "content",
        "message",
        "text",
        "value",
        "body",
        "utterance",
        "message_content",
        "message_text",
    ),
    "input": ("input", "prompt", "question", "query", "request", "user_message", "user_input", "human"),
    "output": (
        "output",
        "response",
        "answer",
        "completion",
        "reply",
        "assistant_message",
        "bot_response",
        "assistant",
    ),
    "time": (*TIME_KEYS, "datetime", "created_time", "message_time"),
    "user": ("user_id", "userid", "user", "customer_id"),
    "model": ("model", "model_name"),
    "tool": ("tool", "tool_name", "name"),
    "tool_call_id": ("tool_call_id",),
    "tool_calls": ("tool_calls",),
    "input_tokens": ("input_tokens", "prompt_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens"),
    "error": ("error", "error_message"),
}
"""What a column can be, and the names by which it is known."""

_DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class Columns:
    """Column name by field; the others are metadata."""

    by_field: Mapping[str, str]

    @classmethod
    def of(cls, header: Sequence[str], chosen: Mapping[str, str]) -> Columns:
        """Those that were chosen, and the first known name for each other field.

        Raises ConfigError for a chosen column that is not there, BadRow when there is nothing to read.
        """
        shown = ", ".join(header[:12]) or "none"
        known = {_plain(column): column for column in reversed(header)}
        found = {}
        for field, column in chosen.items():
            match = column if column in header else known.get(_plain(column))
            if match is None:
                raise ConfigError(f"--column {field}={column}: there is no such column; the file has {shown}")
            found[field] = match
        for field, names in FIELDS.items():
            taken = set(found.values())
            for name in names:
                match = known.get(_plain(name))
                if match is not None and field not in found and match not in taken:
                    found[field] = match
        if not ({"role", "content"} <= found.keys() or "input" in found):
            raise BadRow(
                "no columns for role and content, or input and output: name them as in "
                f"--column role=sender --column content=text (the file has {shown})"
            )
        if {"role", "content"} <= found.keys():
            found = {field: column for field, column in found.items() if field not in ("input", "output")}
            if "conversation" not in found:
                raise BadRow(
                    f"no column for the conversation: --column conversation=NAME (the file has {shown})"
                )
        return cls(found)

    def get(self, row: Mapping[str, Any], field: str) -> Any:
        return row.get(self.by_field[field]) if field in self.by_field else None


def csv_rows(source: Source) -> Iterator[tuple[int, list[str] | BadRow]]:
    """Line number and cells; the header comes first."""
    csv.field_size_limit(min(source.max_record_characters, 2**31 - 1))
    lines = _lines(source)
    # Strict, or a quote that is never closed would swallow the rest of the file.
    reader = csv.reader(lines, delimiter=_delimiter(source.head), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, BadRow(f"not CSV: {error}")
            continue
        try:
            if cells and any(cells):
                yield line, [checked(cell, source.encoding) for cell in cells]
        except BadRow as error:
            yield line, error


def _lines(source: Source) -> Iterator[str]:
    for _, line in source.lines():
        yield "" if line is None else line


def _delimiter(head: str) -> str:
    first = head.lstrip("\ufeff\r\n").split("\n", 1)[0]
    return max(_DELIMITERS, key=first.count)


def read_csv(source: Source, chosen: Mapping[str, str]) -> Iterator[ChatRow | BadLine]:
    """Chats, and rows that can't be used. Raises ConfigError for a chosen column that is not there."""
    rows = csv_rows(source)
    line, header = next(rows, (0, BadRow("the file is empty")))
    if isinstance(header, BadRow):
        yield BadLine(line, str(header))
        return
    header = [name.strip() for name in header]
    try:
        columns = Columns.of(header, chosen)
    except BadRow as error:
        yield BadLine(line, str(error))
        return
    yield from chats_of(_records(rows, header), columns)


def _records(
    rows: Iterable[tuple[int, list[str] | BadRow]], header: Sequence[str]
) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    for line, cells in rows:
        if isinstance(cells, BadRow):
            yield line, cells
        elif len(cells) != len(header):
            yield line, BadRow(f"it has {len(cells)} cells, the header {len(header)}")
        else:
            yield line, dict(zip(header, cells, strict=True))


def chats_of(
    records: Iterable[tuple[int, dict[str, Any] | BadRow]], columns: Columns
) -> Iterator[ChatRow | BadLine]:
    """Chats out of rows: one each, or grouped by conversation."""
    if "conversation" not in columns.by_field:
        for line, record in records:
            yield _chat([(line, record)], columns) if isinstance(record, dict) else BadLine(line, str(record))
        return
    # An empty name is a database on disk that goes when it is closed.
    with closing(sqlite3.connect("")) as spool:
        spool.execute(
            "CREATE TABLE rows (place INTEGER PRIMARY KEY, line INTEGER, conversation TEXT, record TEXT)"
        )
        for line, record in records:
            problem = _spooled(spool, line, record, columns)
            if problem is not None:
                yield problem
        spool.execute("CREATE INDEX by_conversation ON rows (conversation, place)")
        firsts = spool.execute("SELECT conversation FROM rows GROUP BY conversation ORDER BY min(place)")
        for (conversation,) in firsts:
            found = spool.execute(
                "SELECT line, record FROM rows WHERE conversation = ? ORDER BY place", (conversation,)
            )
            yield _chat([(line, json.loads(record)) for line, record in found], columns)


def _spooled(
    spool: sqlite3.Connection, line: int, record: dict[str, Any] | BadRow, columns: Columns
) -> BadLine | None:
    """Keeps a row; what is wrong with it alone is told here, so that it doesn't cost its conversation."""
    try:
        if isinstance(record, BadRow):
            raise record
        value = columns.get(record, "conversation")
        conversation = str(value).strip() if isinstance(value, str | int) else ""
        if not conversation:
            raise BadRow(f"{columns.by_field['conversation']} is empty")
        parse_time(columns.get(record, "time"))
        if "role" in columns.by_field:
            role = columns.get(record, "role")
            if not isinstance(role, str) or role.strip().lower() not in ROLES:
                raise BadRow(f"unknown role {str(role)[:40]!r}" if role else "it has no role")
        text = json.dumps(record, ensure_ascii=True)
        spool.execute(
            "INSERT INTO rows (line, conversation, record) VALUES (?, ?, ?)",
            (line, conversation.encode("utf-8", "replace").decode(), text),
        )
    except BadRow as error:
        return BadLine(line, str(error))
    except (ValueError, RecursionError) as error:
        return BadLine(line, f"it can't be kept: {str(error)[:100]}")
    return None


def _chat(rows: list[tuple[int, dict[str, Any]]], columns: Columns) -> ChatRow | BadLine:
    line = rows[0][0]
    try:
        times = [parse_time(columns.get(row, "time")) for _, row in rows]
        if all(time is not None for time in times):
            rows = [row for _, row in sorted(zip(times, rows, strict=True), key=lambda pair: pair[0] or 0)]
        records = [row for _, row in rows]
        messages = [message for row in records for message in _messages(row, columns)]
        chat: dict[str, Any] = {"messages": messages, "metadata": _metadata(records, columns)}
        for key, field in (("conversation_id", "conversation"), ("user_id", "user"), ("error", "error")):
            chat[key] = next((value for row in records if (value := columns.get(row, field))), None)
        return ChatRow(line, read_chat(chat))
    except BadRow as error:
        return BadLine(line, str(error))


def _messages(row: dict[str, Any], columns: Columns) -> Iterator[dict[str, Any]]:
    known = {
        "timestamp": columns.get(row, "time"),
        "model": columns.get(row, "model"),
        "usage": {
            "input_tokens": columns.get(row, "input_tokens"),
            "output_tokens": columns.get(row, "output_tokens"),
        },
    }
    if "role" in columns.by_field:
        calls = columns.get(row, "tool_calls")
        if isinstance(calls, str) and calls.strip():
            try:
                calls = json.loads(calls)
            except (ValueError, RecursionError):
                raise BadRow("tool_calls is not JSON") from None
        yield known | {
            "role": columns.get(row, "role"),
            "content": columns.get(row, "content"),
            "name": columns.get(row, "tool"),
            "tool_call_id": columns.get(row, "tool_call_id"),
            "tool_calls": calls if isinstance(calls, list) else None,
        }
        return
    if asked := columns.get(row, "input"):
        yield {"role": "user", "content": asked, "timestamp": known["timestamp"]}
    if (answered := columns.get(row, "output")) or not columns.get(row, "input"):
        yield known | {"role": "assistant", "content": answered}


def _metadata(records: Sequence[dict[str, Any]], columns: Columns) -> dict[str, Any]:
    """Of the other columns those that say one thing for the whole conversation."""
    used = set(columns.by_field.values())
    first = records[0]
    return {
        key: value
        for key, value in first.items()
        if key not in used
        and value not in (None, "")
        and isinstance(value, str | int | float | bool)
        and all(row.get(key) == value for row in records)
    }


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")
