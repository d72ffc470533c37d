"""What parsers yield: a chat, telemetry that is OTLP already, or a row that can't be used, with its line."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from tracetaxa.dialects.reading import Message


class BadRow(ValueError):
    """Why a row can't be imported, in a few words for the one who has the file."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that was left out. `line` is where it begins, from 1; 0 for the file as a whole."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}" if self.line else f"{self.file}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one model call used. `input` holds those read from or written to a cache, too."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A message of a chat, and what its source tells about it."""

    message: Message
    time_ns: int | None = None
    model: str = ""
    tokens: Tokens = Tokens()
    finish_reason: str = ""


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation as its source has it, in order."""

    messages: tuple[Said, ...]
    system: tuple[str, ...] = ()
    history: int = 0
    """So many first messages were said before: the history that a logged model call was given."""
    conversation: str = ""
    user: str = ""
    model: str = ""
    """Of answers that don't name their own."""
    start_ns: int | None = None
    end_ns: int | None = None
    error: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChatRow:
    line: int
    chat: Chat


@dataclass(frozen=True, slots=True)
class OtlpRow:
    """Spans, log records or both, as they will be stored."""

    line: int
    traces: ExportTraceServiceRequest | None = None
    logs: ExportLogsServiceRequest | None = None


@dataclass(frozen=True, slots=True)
class BadLine:
    line: int
    reason: str


Row = ChatRow | OtlpRow | BadLine
