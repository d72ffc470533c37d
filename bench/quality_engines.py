"""Which engine `python -m bench quality` measures, and on what."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bench.loaders import available
from bench.quality_cases import CLINC, Case, clinc_flat, clinc_skewed, demo, tau
from tracetaxa.analyze.local.engine import LocalEngine
from tracetaxa.config import Config, LlmConfig
from tracetaxa.jobs import build_engine
from tracetaxa.llm.embed import WordStatistics, embedder_name, load_embedder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tracetaxa.protocols import Database, Engine

DEMO_TRACES = 1000


def engine_maker(
    engine: str, base_url: str | None, model: str | None, effort: str, words: bool
) -> tuple[Callable[[], Engine], str]:
    """Makes an engine as jobs does, and what it is called in the report."""
    # Arithmetic on several threads sums in another order each time, and the baselines must repeat too.
    threadpool_limits(1)
    if engine == "local":
        loads = WordStatistics if words else load_embedder
        name = WordStatistics.name if words else embedder_name()
        return lambda: LocalEngine(loads, models=(name,)), f"local ({name})"
    given = {"taxonomy_model": model, "assignment_model": model} if model else {}
    efforts = {"taxonomy_effort": effort, "assignment_effort": effort}
    # Without a cache, so that every run is paid for, and no database is needed.
    llm = LlmConfig.model_validate(
        {"engine": "openai", "base_url": base_url, "cache_days": 0} | given | efforts
    )
    config = Config(llm=llm)
    return lambda: build_engine(config, "openai", cast("Database", None)), llm.assignment_model


def cases(
    data: Path, chosen: Sequence[str], seeds: range, most: int, tell: Callable[[str], None]
) -> Iterator[Case]:
    """The cases that were chosen, or all; those whose data is not there are skipped with a word."""
    wanted = chosen or ("skewed", "flat", "two-level", "demo", "tau")
    for name in wanted:
        if name in ("skewed", "flat", "two-level") and not (data / CLINC).is_dir():
            tell(f"skipped {name}: CLINC150 is not in {data}")
        elif name == "tau" and not available(data):
            tell(f"skipped tau: the real runs are not in {data}")
        elif name == "tau":
            yield tau(data, most)
        else:
            for seed in seeds:
                if name == "skewed":
                    yield clinc_skewed(data, seed, most)
                elif name == "demo":
                    yield demo(min(most, DEMO_TRACES), seed)
                else:
                    yield clinc_flat(data, seed, min(most, 1500), 1 if name == "flat" else 2)
