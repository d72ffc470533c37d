"""JSON values out of JSON lines or one large document, one at a time, whatever is broken between them.

A document is cut by its brackets alone before anything is parsed, so that one broken element costs only
itself, and an array of any length is never in memory.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracetaxa.imports.rows import BadLine, BadRow
from tracetaxa.imports.source import checked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracetaxa.imports.source import Source

_STRUCTURE = re.compile(r'["{}\[\]]')
_STRING_END = re.compile(r'["\\]')
_BETWEEN = " \t\r\n,"
_OPENINGS = frozenset({"[", "{", "[{", "[["})


@dataclass(frozen=True, slots=True)
class Value:
    """A parsed value. `of_array`: it is an element of the document's outermost array."""

    line: int
    data: Any
    of_array: bool = False


def json_values(source: Source, *, lines: bool) -> Iterator[Value | BadLine]:
    """Every object or array of the source: one a line, or those of a document."""
    return _of_lines(source) if lines else _of_document(source)


def looks_like_lines(head: str, name: str) -> bool:
    """Whether a text that begins like this holds one JSON value a line."""
    if name.lower().endswith((".jsonl", ".ndjson")):
        return True
    rows = [row.strip() for row in head.split("\n")]
    rows = [row for row in rows if row]
    if not rows or rows[0] in _OPENINGS:
        return False
    # A first line that is broken must not make one value of the whole file.
    return _complete(rows[0]) or (len(rows) > 1 and rows[0][:1] == rows[1][:1] and _complete(rows[1]))


def parse(text: str, encoding: str = "utf-8") -> Any:
    """Raises BadRow."""
    try:
        return json.loads(checked(text, encoding))
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        raise BadRow(f"not JSON: {error.msg} ({where})") from None
    except RecursionError:
        raise BadRow("nested too deep") from None
    except ValueError as error:  # an integer of thousands of digits
        if isinstance(error, BadRow):
            raise
        raise BadRow(f"not JSON that can be read: {str(error)[:100]}") from None


def _complete(row: str) -> bool:
    try:
        return isinstance(json.loads(row), dict | list)
    except (ValueError, RecursionError):
        return False


def _of_lines(source: Source) -> Iterator[Value | BadLine]:
    for number, line in source.lines():
        if line is None:
            yield BadLine(number, source.too_long)
        elif line.strip():
            yield _parsed(number, line, source.encoding)


def _parsed(number: int, text: str, encoding: str, of_array: bool = False) -> Value | BadLine:
    try:
        return Value(number, parse(text, encoding), of_array)
    except BadRow as error:
        return BadLine(number, str(error))


def _of_document(source: Source) -> Iterator[Value | BadLine]:
    cutter = _Cutter(source)
    for chunk in source.chunks():
        yield from cutter.feed(chunk)
    yield from cutter.end()


class _Cutter:
    """Cuts the elements of the outermost array, or values that follow each other, out of chunks of text."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._pieces: list[str] = []
        self._size = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._array: bool | None = None
        """Whether the document is an array; None before its first character."""
        self._line = self._started = 1

    def feed(self, chunk: str) -> Iterator[Value | BadLine]:
        position = begun = 0
        while True:
            if not self._depth and not self._size:
                begun = position = self._skip(chunk, position)
                if position >= len(chunk):
                    return
                if self._array and chunk[position] == "]":
                    self._array = None
                    begun = position = position + 1
                    continue
                if self._array is None:
                    self._array = chunk[position] == "["
                    if self._array:
                        begun = position = position + 1
                        continue
            position, ended = self._walk(chunk, begun, position)
            if not ended:
                break
            yield from self._take(chunk[begun:position])
            begun = position
        if begun < len(chunk):
            self._keep(chunk[begun:])

    def end(self) -> Iterator[Value | BadLine]:
        text = "".join(self._pieces).strip()
        if self._size:
            cut = "the file ends inside of a value" if self._depth or self._in_string else f"{text[:20]!r}?"
            yield BadLine(self._started, cut)
        elif self._array:
            yield BadLine(self._line, "the file ends inside of its list")

    def _skip(self, chunk: str, position: int) -> int:
        start = position
        while position < len(chunk) and (chunk[position] in _BETWEEN or chunk[position] == "\ufeff"):
            position += 1
        self._line += chunk.count("\n", start, position)
        self._started = self._line
        return position

    def _walk(self, chunk: str, begun: int, position: int) -> tuple[int, bool]:
        """To the end of the value that is open, or of the chunk."""
        if self._escaped:
            self._escaped = False
            position += 1
        while True:
            found = (_STRING_END if self._in_string else _STRUCTURE).search(chunk, position)
            if found is None:
                return len(chunk), False
            mark, position = found[0], found.end()
            if mark == "\\":
                position += 1
                self._escaped = position > len(chunk)
            elif mark == '"':
                self._in_string = not self._in_string
            elif mark in "{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth < 0:  # the end of the list after something else, or a bracket too many
                    self._depth = 0
                    return position - (self._size > 0 or position - 1 > begun), True
                if not self._depth:
                    return position, True

    def _keep(self, text: str) -> None:
        self._size += len(text)
        if self._size <= self._source.max_record_characters:
            self._pieces.append(text)
        else:
            self._pieces.clear()
        self._line += text.count("\n")

    def _take(self, last: str) -> Iterator[Value | BadLine]:
        self._keep(last)
        size, text = self._size, "".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if size > self._source.max_record_characters:
            yield BadLine(self._started, self._source.too_long)
        elif text:
            yield _parsed(self._started, text, self._source.encoding, bool(self._array))
