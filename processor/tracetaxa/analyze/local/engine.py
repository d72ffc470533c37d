"""The `local` engine: categories without a model behind a network, found by embedding and clustering.

What it can't do, a language model can: it does not read the instructions (only whether they ask for
failures, see learner.py), names categories by their telling words, marks outcomes by errors and English
words of regret, and extracts no attributes.

All work runs in one spawned child process, which gets plain data: the process that owns an embedded
ClickHouse must not fork and should not wait for arithmetic.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from tracetaxa.errors import ChildEnded, EngineUnavailable, RunFailed
from tracetaxa.records import Assignment, Brief, Spend, Taxonomy, TraceRow
from tracetaxa.spawned import Spawned, one_thread

if TYPE_CHECKING:
    from tracetaxa.analyze.local.learner import LocalModel
    from tracetaxa.analyze.local.texts import Embedder
    from tracetaxa.protocols import Progress

T = TypeVar("T")

LoadEmbedder = Callable[[], "Embedder"]
"""Importable by name in another process: a function, or a `functools.partial` of one."""

_NEEDED = ("numpy", "scipy", "sklearn")


class LocalEngine:
    """`Engine` without a key or a network.

    `discover` learns from its traces; `assign` then places traces among them, the same ones by what is
    already known. With a taxonomy that this engine did not find, `assign` first recognises its categories
    by name and description in the traces it is given. One engine serves one run at a time. `close` ends the
    child process.
    """

    name = "local"
    prices_known = True
    prompt_fingerprints: Mapping[str, str] = {}

    def __init__(
        self,
        load_embedder: LoadEmbedder,
        *,
        models: tuple[str, ...] = (),
        texts_per_step: int = 256,
        traces_per_batch: int = 200,
        learned_from: int = 2000,
    ) -> None:
        """`load_embedder` is called in the child process, once. `models` names what it will load, for the
        record.

        Progress is told every `texts_per_step` embedded texts; `assign` gives batches of
        `traces_per_batch`; a taxonomy found elsewhere is recognised in at most `learned_from` traces.
        Raises EngineUnavailable.
        """
        missing = [package for package in _NEEDED if find_spec(package) is None]
        if missing:
            raise EngineUnavailable(
                f"the local engine needs {' and '.join(missing)}: pip install 'tracetaxa[local]'"
            )
        self.models = models
        self._load_embedder = load_embedder
        self._texts_per_step = texts_per_step
        self._traces_per_batch = traces_per_batch
        self._learned_from = learned_from
        self._child = Spawned("the local engine")
        self._taxonomy: Taxonomy | None = None
        """What the child knows the place of."""

    @property
    def spend(self) -> Spend:
        """Nothing, ever."""
        return Spend()

    async def discover(self, traces: Sequence[TraceRow], brief: Brief, progress: Progress) -> Taxonomy:
        """Categories that set the traces apart, and those within each.

        Raises RunFailed when the child process dies, EngineUnavailable when it lacks a package.
        """
        await self._embed(traces, Taxonomy(brief.predefined), progress)
        progress("cluster", 0, 1)
        taxonomy = await self._call(_discover, brief)
        progress("cluster", 1, 1)
        self._taxonomy = taxonomy
        return taxonomy

    async def assign(
        self, traces: Sequence[TraceRow], taxonomy: Taxonomy, brief: Brief, progress: Progress
    ) -> AsyncIterator[list[Assignment]]:
        """Each trace's category by the nearest traces of the sample; raises as `discover` does."""
        if taxonomy != self._taxonomy:
            step = -(-len(traces) // self._learned_from) or 1
            await self._embed(traces[::step], taxonomy, progress)
            await self._call(_adopt, taxonomy, brief)
            self._taxonomy = taxonomy
        progress("assign", 0, len(traces))
        for start in range(0, len(traces), self._traces_per_batch):
            batch = traces[start : start + self._traces_per_batch]
            verdicts = await self._call(_assign, [_plain(row) for row in batch])
            progress("assign", start + len(batch), len(traces))
            yield verdicts

    async def close(self) -> None:
        """When it returns the child process has ended; what it was doing is finished first."""
        self._taxonomy = None
        await self._child.close()

    async def _embed(self, traces: Sequence[TraceRow], known: Taxonomy, progress: Progress) -> None:
        self._taxonomy = None
        waiting = total = await self._call(_load, [_plain(row) for row in traces], known)
        progress("embed", 0, total)
        while waiting:
            waiting = await self._call(_embed, self._texts_per_step)
            progress("embed", total - waiting, total)

    async def _call(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run `work` in the child, which is started when there is none."""
        try:
            return await self._child.call(_with, self._load_embedder, work, *arguments)
        except ChildEnded as error:
            self._taxonomy = None
            raise RunFailed(f"{error}: run again with a smaller sample") from error


# ----------------------------------------------------------------------------------------- in the child

_Plain = tuple[str, tuple[tuple[str, str, str], ...], tuple[str, ...], bool]


def _plain(row: TraceRow) -> _Plain:
    """Of a trace: id, digest lines as (kind, text, span id), tools, whether it failed."""
    lines = tuple(zip(row.digest_kinds, row.digest_texts, row.digest_span_ids, strict=True))
    return row.trace_id, lines, row.tools, row.error_count > 0 or row.status == "Error"


_load_embedder: LoadEmbedder | None = None
_model: LocalModel | None = None


def _with(load_embedder: LoadEmbedder, work: Callable[..., T], *arguments: Any) -> T:
    global _load_embedder
    _load_embedder = load_embedder
    return work(*arguments)


def _the_model() -> LocalModel:
    global _model
    if _model is None:
        # Loaded first: only the thread pools of libraries that are there already can be limited.
        import scipy.linalg  # noqa: F401
        import sklearn.cluster  # noqa: F401

        from tracetaxa.analyze.local.learner import LocalModel

        one_thread()
        if _load_embedder is None:
            raise RuntimeError("the child was not started by LocalEngine")
        _model = LocalModel(_load_embedder())
    return _model


def _load(traces: Sequence[_Plain], known: Taxonomy) -> int:
    from tracetaxa.analyze.local.represent import Document

    return _the_model().load([Document(*trace) for trace in traces], known.categories)


def _embed(most: int) -> int:
    return _the_model().embed(most)


def _discover(brief: Brief) -> Taxonomy:
    return _the_model().discover(brief)


def _adopt(taxonomy: Taxonomy, brief: Brief) -> None:
    _the_model().adopt(taxonomy, brief)


def _assign(traces: Sequence[_Plain]) -> list[Assignment]:
    from tracetaxa.analyze.local.represent import Document

    return _the_model().assign([Document(*trace) for trace in traces])
