"""What a dialect gives back for one span, and the interface of a dialect."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from tracetaxa.records import Role, Span

Kind = Literal["model", "tool", "agent", "retrieval", "other"]
"""Model call, tool execution, agent or workflow around them, embedding or search, anything else.

A step of a pipeline is `other` and gives no messages: what matters in it, the spans inside it say. The root
of a trace is an `agent` even if it is only a step, since nobody else may say what was asked and answered.
"""


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

    def filled(self, other: ToolRun) -> ToolRun:
        """With what another report of the same call knows more; either may say that it failed."""
        return ToolRun(
            self.call_id or other.call_id,
            self.name or other.name,
            self.arguments or other.arguments,
            self.result or other.result,
            self.error or other.error,
        )


@dataclass(frozen=True, slots=True)
class Retrieval:
    """A search: `documents` is what was found, as text."""

    name: str
    query: str
    documents: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """Feedback as telemetry carries it; about the span it is on, unless it names another target."""

    name: str
    score: float | None = None
    label: str = ""
    comment: str = ""
    annotator: str = ""
    """HUMAN, LLM, CODE, or empty."""
    trace_id: str = ""
    span_id: str = ""
    session_id: str = ""
    """Set when a whole session is judged."""


@dataclass(frozen=True, slots=True)
class SpanReading:
    """The meaning of one span. `input` is the history that the model was given, `output` what it added."""

    kind: Kind = "other"
    system: tuple[str, ...] = ()
    input: tuple[Message, ...] = ()
    output: tuple[Message, ...] = ()
    tool: ToolRun | None = None
    retrieval: Retrieval | None = None
    model: str = ""
    provider: str = ""
    input_tokens: int | None = None
    """All of them, those read from or written to a cache included."""
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost_usd: float | None = None
    """What the instrumentation says the call cost."""
    session: str = ""
    user: str = ""
    agent: str = ""
    feedback: tuple[Judgement, ...] = ()

    @property
    def has_content(self) -> bool:
        """Whether it says what was said, and not only that something was."""
        return any(map(_says, self.input)) or any(map(_says, self.output))

    @property
    def says_text(self) -> bool:
        """Whether the output is more than calls of tools."""
        return any(message.text for message in self.output)

    @property
    def has_tokens(self) -> bool:
        return self.input_tokens is not None or self.output_tokens is not None


def _says(message: Message) -> bool:
    return (
        bool(message.text)
        or any(call.arguments for call in message.calls)
        or any(result.text for result in message.results)
    )


class Dialect(Protocol):
    """How one family of instrumentations writes on spans.

    An instance reads the spans of one trace in time order and may remember what it parsed; it is never shared
    between traces. `read` is called only for spans that match, and tells what this dialect's own names say:
    several dialects may match one span, and what the first leaves open the next fill in. Content that can't
    be understood is left out of the reading. Whose session and user a span is of, every dialect reads (see
    identity.py); a default SpanReading means that it has nothing to say.
    """

    name: str

    def matches(self, span: Span, roots: Collection[str]) -> bool:
        """Cheap: scope and names, no parsing.

        `roots` are the first parts of the span's attribute keys and event names: `gen_ai` for
        `gen_ai.request.model`.
        """

    def read(self, span: Span) -> SpanReading: ...
