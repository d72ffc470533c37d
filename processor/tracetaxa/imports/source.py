"""Text out of a file or a pipe, a piece at a time: encodings, very long lines, and how far it is read."""

from __future__ import annotations

import codecs
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tracetaxa.imports.rows import BadRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PEEK_BYTES = 1 << 16
"""So much of the beginning decides what a file is."""
MAX_RECORD_CHARACTERS = 64 << 20
"""Longest row: all of it is in memory at once, several times."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Source:
    """One input, read once from its beginning. UTF-8 unless a byte order mark says otherwise."""

    def __init__(
        self,
        name: str,
        file: BinaryIO,
        *,
        size_bytes: int | None = None,
        max_record_characters: int = MAX_RECORD_CHARACTERS,
    ) -> None:
        """`size_bytes` is for those who show progress, None where nobody knows."""
        self.name = name
        self.size_bytes = size_bytes
        self.max_record_characters = max_record_characters
        self._buffer = io.BufferedReader(_Counted(file), PEEK_BYTES)
        first = self._buffer.peek(PEEK_BYTES)
        self.encoding = next((name for bom, name in _BOMS if first.startswith(bom)), "utf-8")
        self.head = first.decode(self.encoding, "replace")
        """The beginning of the text, to look at."""
        # Bytes that are not UTF-8 stay recognisable, so that `checked` can tell of their line.
        errors = "surrogateescape" if self.encoding.startswith("utf-8") else "replace"
        self._text = io.TextIOWrapper(self._buffer, self.encoding, errors=errors, newline="")

    @property
    def stem(self) -> str:
        """The file's name without directory and ending."""
        return "import" if self.name == "-" else Path(self.name).stem

    @property
    def bytes_read(self) -> int:
        raw = self._buffer.raw
        assert isinstance(raw, _Counted)
        return raw.count

    def lines(self) -> Iterator[tuple[int, str | None]]:
        """Line number and line, None for one that is too long."""
        number = 0
        limit = self.max_record_characters
        while line := self._text.readline(limit):
            number += 1
            if len(line) < limit or line.endswith("\n"):
                yield number, line
                continue
            while (rest := self._text.readline(limit)) and not rest.endswith("\n"):
                pass
            yield number, None

    def chunks(self, characters: int = 1 << 20) -> Iterator[str]:
        while chunk := self._text.read(characters):
            yield chunk

    @property
    def too_long(self) -> str:
        return f"longer than {self.max_record_characters >> 20} MiB (--max-record-mib)"


def open_sources(
    names: Iterable[str], *, max_record_characters: int = MAX_RECORD_CHARACTERS
) -> Iterator[Source]:
    """One after the other, each closed when the next is asked for; `-` is standard input."""
    for name in names:
        if name == "-":
            yield Source(name, sys.stdin.buffer, max_record_characters=max_record_characters)
            continue
        path = Path(name)
        with path.open("rb", buffering=0) as file:
            size = path.stat().st_size if path.is_file() else None
            yield Source(name, file, size_bytes=size, max_record_characters=max_record_characters)


def checked(text: str, encoding: str = "utf-8") -> str:
    """The text, whose bytes were all of the encoding. Raises BadRow naming the first that is not."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) - 0xDC00
        where = f"character {error.start + 1}"
        known = f"byte 0x{byte:02x}" if 0x80 <= byte <= 0xFF else "a byte"
        raise BadRow(f"{known} at {where} is not {encoding.upper()}: convert the file to UTF-8") from None
    return text


class _Counted(io.RawIOBase):
    """Counts the bytes that come through: a pipe has no position."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)
