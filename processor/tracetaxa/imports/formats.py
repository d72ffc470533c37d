"""Which format an input has, and its rows."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, get_args

from tracetaxa.dialects.values import text_of
from tracetaxa.imports.json_values import Value, json_values, looks_like_lines
from tracetaxa.imports.langsmith import is_run, read_run
from tracetaxa.imports.messages import is_message
from tracetaxa.imports.otlp import is_otlp, read_otlp
from tracetaxa.imports.records import CONVERSATION_KEYS, read_chat
from tracetaxa.imports.rows import BadLine, BadRow, ChatRow, OtlpRow
from tracetaxa.imports.sharegpt import is_sharegpt
from tracetaxa.imports.table import Columns, chats_of, read_csv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tracetaxa.imports.rows import Row
    from tracetaxa.imports.source import Source

Format = Literal["auto", "openai", "langsmith", "sharegpt", "otlp", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)

_HOLDERS = ("chats", "chat_histories", "conversations", "runs", "data", "records", "rows")
"""Keys of a document that holds many chats."""
_MAX_NESTING = 4


def read_rows(source: Source, form: Format, columns: Mapping[str, str], service: str) -> Iterator[Row]:
    """Every chat, OTLP request and bad row of a source. Raises ConfigError for a column that is not there."""
    first = source.head.lstrip("\ufeff \t\r\n")[:1]
    if form == "csv" or (form == "auto" and first not in ("{", "[", "")):
        return read_csv(source, columns)
    values = json_values(source, lines=looks_like_lines(source.head, source.name))
    return _Records(form, columns, service).rows(values)


class _Records:
    def __init__(self, form: Format, columns: Mapping[str, str], service: str) -> None:
        self._form = form
        self._columns = columns
        self._service = service

    def rows(self, values: Iterable[Value | BadLine]) -> Iterator[Row]:
        """Like every other row, a message that stands alone is part of a table or of the list it is in."""
        alone: list[Any] = []
        started = 0
        iterator = iter(values)
        for value in iterator:
            if isinstance(value, BadLine):
                yield value
            elif self._is_table_row(value.data):
                yield from self._table(chain([value], iterator))
            elif isinstance(value.data, list) and value.data and self._is_table_row(value.data[0]):
                yield from self._table([Value(value.line, row) for row in value.data])
            elif value.of_array and self._form in ("auto", "openai") and is_message(value.data):
                started = started or value.line
                alone.append(value.data)
            else:
                yield from self._expanded(value.data, value.line, 0)
        if alone:
            yield self._chat(alone, started)

    def _expanded(self, value: Any, line: int, depth: int) -> Iterator[Row]:
        """A list of chats is its chats, and so is an object that holds such a list."""
        inner: Any = None
        if isinstance(value, list) and not (value and all(is_message(item) for item in value)):
            inner = value
        elif isinstance(value, dict) and self._form != "otlp":
            key = next((key for key in _HOLDERS if isinstance(value.get(key), list)), None)
            if key and len(value) <= 3 and not is_run(value) and not _said_in(value[key]):
                inner = value[key]
        if isinstance(inner, list) and depth < _MAX_NESTING:
            if not inner:
                yield BadLine(line, "an empty list")
            for item in inner:
                yield from self._expanded(item, line, depth + 1)
        else:
            yield self._row(value, line)

    def _row(self, value: Any, line: int) -> Row:
        try:
            form = self._form if self._form not in ("auto", "csv") else _form_of(value)
            if form == "otlp":
                if not isinstance(value, dict):
                    raise BadRow("not an OTLP request")
                return read_otlp(value, line)
            if form == "langsmith" and is_run(value):
                return _run(value, line, self._service)
            if form == "sharegpt" and not (isinstance(value, dict) and is_sharegpt(value)):
                raise BadRow("it has no conversations")
        except BadRow as error:
            return BadLine(line, str(error))
        return self._chat(value, line)

    def _chat(self, value: Any, line: int) -> Row:
        try:
            return ChatRow(line, read_chat(value))
        except BadRow as error:
            return BadLine(line, str(error))
        except RecursionError:
            return BadLine(line, "nested too deep")

    def _is_table_row(self, value: Any) -> bool:
        if self._form not in ("auto", "openai") or not isinstance(value, dict):
            return False
        if {"role", "content"} <= self._columns.keys():
            return "messages" not in value
        return is_message(value) and any(key in value for key in CONVERSATION_KEYS)

    def _table(self, values: Iterable[Value | BadLine]) -> Iterator[Row]:
        """JSON rows of one message each."""

        def records() -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
            for value in values:
                if isinstance(value, BadLine):
                    yield value.line, BadRow(value.reason)
                elif isinstance(value.data, dict):
                    yield value.line, value.data
                else:
                    yield value.line, BadRow("not an object with role and content")

        rows = records()
        line, first = next(rows)
        assert isinstance(first, dict)
        try:
            columns = Columns.of([text_of(key) for key in first], self._columns)
        except BadRow as error:
            yield BadLine(line, str(error))
            return
        yield from chats_of(chain([(line, first)], rows), columns)


def _form_of(value: Any) -> Format:
    if is_otlp(value):
        return "otlp"
    return "langsmith" if is_run(value) else "openai"


def _said_in(items: list[Any]) -> bool:
    """Whether these are messages, so that what holds them is one chat."""
    return bool(items) and all(
        isinstance(item, dict) and ("from" in item or is_message(item)) for item in items
    )


def _run(value: dict[str, Any], line: int, service: str) -> OtlpRow:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    return OtlpRow(line, ExportTraceServiceRequest(resource_spans=[read_run(value, service)]))
