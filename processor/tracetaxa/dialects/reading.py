"""What a dialect gives back for one span, and the interface of a dialect."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracetaxa.records import Role, Span

Kind = Literal["model", "tool", "agent", "retrieval", "other"]
"""Model call, tool execution, agent or workflow around them, embedding or search, anything else."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model asked for. `arguments` is compact JSON, or the text as it came."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the model was told about a call; `name` is often unknown."""

    call_id: str
    name: str
    text: str
    error: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One message of a model call. System messages are kept apart, in `SpanReading.system`."""

    role: Role
    text: str
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolResult, ...] = ()
    key: tuple[object, ...] = field(init=False)
    """Equal for one message seen twice: what was said, without ids, which instrumentations add or drop."""

    def __post_init__(self) -> None:
        calls = tuple([(call.name, call.arguments) for call in self.calls])
        results = tuple([result.text for result in self.results])
        object.__setattr__(self, "key", (self.role, self.text.strip(), calls, results))


@dataclass(frozen=True, slots=True)
class ToolRun:
    """A tool execution that a span records."""

    call_id: str
    name: str
    arguments: str
    result: str
    error: bool


@dataclass(frozen=True, slots=True)
class SpanReading:
    """The meaning of one span. `input` is the history that the model was given, `output` what it added."""

    kind: Kind
    system: tuple[str, ...] = ()
    input: tuple[Message, ...] = ()
    output: tuple[Message, ...] = ()
    tool: ToolRun | None = None
    model: str = ""
    provider: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    session: str = ""
    user: str = ""
    agent: str = ""
    feedback: Mapping[str, float] = field(default_factory=dict)

    @property
    def has_content(self) -> bool:
        return bool(self.input or self.output)

    @property
    def has_tokens(self) -> bool:
        return self.input_tokens is not None or self.output_tokens is not None


class Dialect(Protocol):
    """How one family of instrumentations writes on spans.

    An instance reads the spans of one trace in time order and may remember what it parsed; it is never shared
    between traces. `matches` is cheap: scope and attribute names, no parsing. `read` is called only for spans
    that match; content it can't understand is left out of the reading.
    """

    def matches(self, span: Span) -> bool: ...

    def read(self, span: Span) -> SpanReading: ...
