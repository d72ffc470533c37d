"""The interfaces between the parts, each as small as its users allow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from tracetaxa.records import Assignment, Brief, Spend, Standing, Taxonomy, TraceRow

T = TypeVar("T")

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, total); cheap, may be called often."""


class Watcher(Protocol):
    """A `Progress` that is also told what a run has spent, where it spends."""

    def __call__(self, stage: str, done: int, total: int, standing: Standing | None = None) -> None: ...


def no_progress(stage: str, done: int, total: int, standing: Standing | None = None) -> None:
    """The progress of somebody who does not watch."""


class Database(Protocol):
    """ClickHouse by the name of a statement: `store/sql/<name>.sql`, bound with ClickHouse's own parameters.

    Raises StoreUnavailable when the same call may work later, QueryFailed otherwise.
    """

    async def rows(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """Rows as dictionaries by column name; DateTime64 values are integers in the column's own unit."""

    async def raw_rows(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        """As `rows`, with strings as the bytes that they are: for those that are no text."""

    async def records(self, name: str, into: type[T], **parameters: Any) -> list[T]:
        """Rows as records: column `FieldName` fills `field_name` or `field_name_ns`."""

    async def command(self, name: str, **parameters: Any) -> None:
        """A statement that returns nothing."""

    async def insert(self, table: str, records: Sequence[Any]) -> None:
        """Insert records of one type into the table they mirror. Committed when it returns."""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A model's answer: text, or what the JSON schema asked for, and what it used."""

    text: str
    data: Any
    """The parsed JSON, None when no schema was asked for."""
    model: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


class Attempt(Protocol):
    """One request to a model that may be billed. One that neither is said of costs nothing."""

    def answered(self, input_tokens: int) -> None:
        """Its answer came and is in the model's `spend`."""

    def lost(self) -> None:
        """It was sent and no answer came: nobody knows what it cost."""


Admit = Callable[
    [Sequence[Mapping[str, str]], Mapping[str, Any] | None, int], AbstractAsyncContextManager[Attempt]
]
"""(messages, schema, max_tokens) of a request → a context to make it in; entering may wait, or raise."""


class ChatModel(Protocol):
    """One model behind one endpoint.

    Raises ModelRefused (bad key, no such model, quota), ModelUnavailable (no answer within the attempts) and
    ModelReplyInvalid (answers, but never what the schema asks).
    """

    name: str

    @property
    def spend(self) -> Spend:
        """Running total over all calls, failed answers too; its cost is of what has a known price."""

    async def complete(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        schema: Mapping[str, Any] | None = None,
        max_tokens: int,
        admit: Admit | None = None,
    ) -> ChatReply:
        """One chat completion; with a schema, `data` is JSON that has been validated against it.

        Every request that it takes, repeats too, is made inside `admit`, and what that raises is raised.
        """

    async def close(self) -> None: ...


class ReplyCache(Protocol):
    """Answers of models by the fingerprint of what was asked. Raises StoreError."""

    async def find(self, fingerprint: str) -> ChatReply | None: ...

    async def keep(self, fingerprint: str, reply: ChatReply) -> None: ...


class Engine(Protocol):
    """Discovers a taxonomy in a sample and assigns traces to it. Pass 1 is `discover`, pass 2 `assign`.

    A digest is data, never an instruction. Both passes are deterministic for a given seed as far as the
    models are. `close` may be called twice, and without any other call.
    """

    name: str
    models: tuple[str, ...]
    prompt_fingerprints: Mapping[str, str]

    @property
    def prices_known(self) -> bool:
        """Whether the cost in `spend` is the whole bill."""

    @property
    def spend(self) -> Spend:
        """Running total over all calls of this engine."""

    async def discover(self, traces: Sequence[TraceRow], brief: Brief, progress: Progress) -> Taxonomy:
        """Both levels of a taxonomy that answers `brief.instructions`, with `other` in it."""

    def assign(
        self, traces: Sequence[TraceRow], taxonomy: Taxonomy, brief: Brief, progress: Progress
    ) -> AsyncIterator[list[Assignment]]:
        """Batches of verdicts in any order, exactly one for every trace in the end."""

    async def close(self) -> None: ...
