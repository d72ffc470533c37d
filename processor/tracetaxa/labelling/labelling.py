"""Every trace of the analyses with `label_all` gets a label, by the classifier that is in use."""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tracetaxa.analyze.sampling.sample import selection_parameters
from tracetaxa.assemble.loop import Loop
from tracetaxa.errors import ClassifierUnreadable, StoreError, TracetaxaError
from tracetaxa.jobs import selection_of
from tracetaxa.label import training
from tracetaxa.label.labeller import Labeller, Scope
from tracetaxa.label.rows import ClassifierRow
from tracetaxa.labelling.learning import END_OF_TIME_NS, as_run, is_learned, newest_run
from tracetaxa.labelling.lesson import load_taxonomy
from tracetaxa.llm.embed import load_sentence_model
from tracetaxa.records import RunRow, TraceRow
from tracetaxa.spawned import Spawned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracetaxa.config import AnalysisConfig, Config
    from tracetaxa.label.classifier import Prediction
    from tracetaxa.labelling.asking import Asking
    from tracetaxa.store.database import ClickHouse

UNREADABLE_SECONDS = 30.0
"""How long a classifier that can't be read is left alone; meanwhile it may be learned again."""
RENEW_NS = 24 * 3600 * 10**9
"""How often a classifier in use is marked as such, which keeps the retention from it."""


class Labelling(Loop):
    """Woken by whoever closes traces, and by the clock. When `run` returns, how far it came is written."""

    def __init__(
        self,
        config: Config,
        db: ClickHouse,
        asking: Asking | None = None,
        *,
        relearn: Callable[[str], None] = lambda run_id: None,
    ) -> None:
        """`relearn` is told of a run whose classifier can't be read: of an older version, or damaged."""
        super().__init__("labelling", config.label.tick_seconds)
        self._config = config
        self._db = db
        self._asking = asking
        self._analyses = [a for a in config.analyses if a.label_all]
        self._child = Spawned("labelling")
        self._in_use: dict[str, _InUse] = {}
        self._relearn = relearn
        self._troubles: dict[str, str] = {}
        self._not_before: dict[str, float] = {}
        """Analysis → when its classifier is read again that could not be."""
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There may be something to label."""
        self._woken.set()

    async def tick(self) -> int:
        labelled = 0
        for analysis in self._analyses:
            if time.monotonic() >= self._not_before.get(analysis.name, 0.0):
                labelled += await self._tick(analysis)
        self.trouble = "; ".join(f"{name}: {error}" for name, error in self._troubles.items())
        return labelled

    async def _tick(self, analysis: AnalysisConfig) -> int:
        """What keeps one analysis from being labelled does not keep the others."""
        self._troubles.pop(analysis.name, None)
        try:
            in_use = await self._current(analysis)
            return await in_use.labeller.tick() if in_use is not None else 0
        except StoreError:
            raise
        except ClassifierUnreadable as error:
            self._troubles[analysis.name] = str(error)
            self._not_before[analysis.name] = time.monotonic() + UNREADABLE_SECONDS
            if broken := self._in_use.pop(analysis.name, None):
                self._relearn(broken.run.run_id)
        except TracetaxaError as error:
            self._troubles[analysis.name] = str(error)
        return 0

    async def run(self, stopping: asyncio.Event) -> None:
        work = asyncio.create_task(super().run(stopping))
        try:
            await stopping.wait()
        finally:
            # In the middle of a batch too: it is made again.
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            saves = (in_use.labeller.save(now=True) for in_use in self._in_use.values())
            await asyncio.gather(*saves, return_exceptions=True)
            self._in_use.clear()  # others may label until this runs again
            await self._child.close()

    async def unlabelled(self) -> int:
        """Labels that closed traces wait for: since the start of the window of the run that they come
        from."""
        return sum([await self._unlabelled(analysis) for analysis in self._analyses])

    async def _wait(self, stopping: asyncio.Event) -> None:
        if any(in_use.labeller.behind for in_use in self._in_use.values()) and not self.trouble:
            await asyncio.sleep(0)
            return
        events = [asyncio.create_task(event.wait()) for event in (stopping, self._woken)]
        try:
            await asyncio.wait(events, timeout=self._tick_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for event in events:
                event.cancel()
        self._woken.clear()

    async def _unlabelled(self, analysis: AnalysisConfig) -> int:
        goal = await self._goal(analysis)
        if goal is None:
            return 0
        run, version = goal
        in_use = self._in_use.get(analysis.name)
        if in_use is not None and in_use.run.run_id == run.run_id:
            waiting = await in_use.labeller.waiting()
            if waiting is not None:
                return waiting
        selection = await selection_of(self._db, as_run(run, analysis), run.window_start_ns, END_OF_TIME_NS)
        (row,) = await self._db.rows(
            "labelling/count_unlabelled",
            analysis=analysis.name,
            taxonomy_version=version,
            **selection_parameters(selection),
        )
        return int(row["unlabelled"])

    async def _goal(self, analysis: AnalysisConfig) -> tuple[RunRow, int] | None:
        """The run whose categories all its traces are to have, and their version."""
        run = await newest_run(self._db, analysis)
        if run is not None and not await is_learned(self._db, run):  # but it will be
            found = await load_taxonomy(self._db, run)
            return (run, found[1]) if found else None
        version = await self._chosen(analysis)
        in_use = self._in_use.get(analysis.name)
        if in_use is not None and in_use.row.classifier_version == version:
            return in_use.run, in_use.row.taxonomy_version
        row = await self._row(analysis, version)
        runs = await self._db.records("reading/run_by_id", RunRow, run_id=row.run_id) if row else []
        return (runs[0], row.taxonomy_version) if row and runs else None

    async def _chosen(self, analysis: AnalysisConfig) -> str:
        (chosen,) = await self._db.rows("labelling/classifier_version_in_use", analysis=analysis.name)
        version: str = chosen["ClassifierVersion"]
        return version

    async def _row(self, analysis: AnalysisConfig, version: str) -> ClassifierRow | None:
        if not version:
            return None
        rows = await self._db.records(
            "labelling/classifier_in_use", ClassifierRow, analysis=analysis.name, classifier_version=version
        )
        return rows[0] if rows else None

    async def _current(self, analysis: AnalysisConfig) -> _InUse | None:
        """What labels now; begun anew when another classifier was chosen. Raises ClassifierUnreadable."""
        version = await self._chosen(analysis)
        in_use = self._in_use.get(analysis.name)
        if in_use is None or in_use.row.classifier_version != version:
            before, in_use = in_use, await self._begin(analysis, version)
            if in_use is None:
                return None
            self._in_use[analysis.name] = in_use
            if before is not None:
                await before.labeller.save(now=True)
                await self._child.call(training.forget, before.row.classifier_version)
        if time.time_ns() - in_use.row.used_at_ns > RENEW_NS:
            in_use.row = replace(in_use.row, used_at_ns=time.time_ns())
            await self._db.insert("classifiers", [in_use.row])
        return in_use

    async def _begin(self, analysis: AnalysisConfig, version: str) -> _InUse | None:
        row = await self._row(analysis, version)
        if row is None:
            return None
        runs = await self._db.records("reading/run_by_id", RunRow, run_id=row.run_id)
        found = await load_taxonomy(self._db, runs[0]) if runs else None
        if found is None:
            raise ClassifierUnreadable(
                f"the run {row.run_id} of classifier {version}, or its taxonomy, is not there any more"
            )
        run, made = runs[0], as_run(runs[0], analysis)
        selection = await selection_of(self._db, made, run.window_start_ns, END_OF_TIME_NS)
        scope = Scope(
            analysis=analysis.name,
            run_id=run.run_id,
            taxonomy_version=found[1],
            taxonomy=found[0],
            classifier_version=version,
            selection=selection_parameters(selection),
            began_ns=row.created_at_ns,
        )
        asking = self._asking
        if asking is not None and run.engine == "openai":
            usd = made.budget.usd
            asking.begin(scope, made.brief(), None if usd is None else usd - (run.cost_usd or 0.0))
        loaded = _Loaded(self._child, row)

        def unsure(rows: Sequence[TraceRow]) -> None:
            if asking is not None:
                asking.add(analysis.name, rows)

        labeller = Labeller(
            self._db, scope, loaded.predict, unsure, batch_traces=self._config.label.batch_traces
        )
        return _InUse(row, run, labeller)


class _InUse:
    """A classifier at work."""

    def __init__(self, row: ClassifierRow, run: RunRow, labeller: Labeller) -> None:
        self.row = row
        self.run = run
        self.labeller = labeller


class _Loaded:
    """A classifier in the child, loaded again when that was started anew."""

    def __init__(self, child: Spawned, row: ClassifierRow) -> None:
        self._child = child
        self._version = row.classifier_version
        self._archive = base64.b64decode(row.archive)
        self._load_embedder = load_sentence_model if row.embedding else None
        self._generation = -1

    async def predict(self, rows: Sequence[TraceRow]) -> Sequence[Prediction]:
        """Raises ClassifierUnreadable and ChildEnded."""
        if self._generation != self._child.generation:
            await self._child.call(training.load, self._version, self._archive, self._load_embedder)
            self._generation = self._child.generation
        return await self._child.call(training.predict, self._version, rows)
