"""How well an engine finds kinds that are known, beside frozen baselines on the same requests.

    python -m bench quality [--engine local|openai --base-url URL --model NAME]

The engine runs as a job runs it: a taxonomy from the sample, then a verdict on each trace. It is told neither
the kinds nor how many there are; most baselines are told how many.
"""

from __future__ import annotations

import asyncio
import resource
import time
from collections import Counter
from dataclasses import dataclass
from statistics import mean
from typing import TYPE_CHECKING, Any

from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, homogeneity_score

from bench import quality_baselines as baselines
from tracetaxa.analyze.local.represent import Document, parts_of
from tracetaxa.llm.embed import MiniLM, WordStatistics, load_embedder
from tracetaxa.protocols import no_progress
from tracetaxa.records import OTHER, Assignment, Brief, Taxonomy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bench.quality_cases import Case
    from tracetaxa.protocols import Engine
    from tracetaxa.records import TraceRow

QUESTION = "What are users asking the agent to do?"


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of found groups with true ones; purity is the share of traces that are of their group's main kind."""

    ami: float
    ari: float
    purity: float
    homogeneity: float
    groups: int

    @classmethod
    def of(cls, truth: Sequence[str], found: Sequence[Any]) -> Agreement:
        """Adjusted mutual information (Vinh et al. 2010), adjusted Rand index (Hubert and Arabie 1985),
        homogeneity (Rosenberg and Hirschberg 2007)."""
        largest = sum(max(Counter(kinds).values()) for kinds in _members(truth, found).values())
        return cls(
            ami=float(adjusted_mutual_info_score(truth, found)),
            ari=float(adjusted_rand_score(truth, found)),
            purity=largest / len(truth),
            homogeneity=float(homogeneity_score(truth, found)),
            groups=len(set(found)),
        )

    def json(self) -> dict[str, float]:
        return {
            "ami": round(self.ami, 4),
            "ari": round(self.ari, 4),
            "purity": round(self.purity, 4),
            "homogeneity": round(self.homogeneity, 4),
            "groups": self.groups,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an engine made of a case."""

    taxonomy: Taxonomy
    verdicts: dict[str, Assignment]
    """By trace id."""
    seconds: float
    calls: int
    input_tokens: int
    output_tokens: int


async def analyse(engine: Engine, case: Case, seed: int) -> Outcome:
    """Both passes over one case."""
    brief = Brief(
        "bench",
        QUESTION,
        levels=case.levels,
        max_categories=case.max_categories,
        max_subcategories=case.max_subcategories,
        seed=seed,
    )
    started = time.perf_counter()
    before = engine.spend
    taxonomy = await engine.discover(case.rows, brief, no_progress)
    verdicts: dict[str, Assignment] = {}
    async for batch in engine.assign(case.rows, taxonomy, brief, no_progress):
        verdicts |= {verdict.trace_id: verdict for verdict in batch}
    spent = engine.spend
    return Outcome(
        taxonomy,
        verdicts,
        time.perf_counter() - started,
        spent.calls - before.calls,
        spent.input_tokens - before.input_tokens,
        spent.output_tokens - before.output_tokens,
    )


def measure(case: Case, outcome: Outcome) -> dict[str, Any]:
    """The figures of one case."""
    given = [outcome.verdicts[row.trace_id] for row in case.rows]
    found = [verdict.category_id for verdict in given]
    below = [f"{verdict.category_id}/{verdict.subcategory_id}" for verdict in given]
    categories = [c for c in outcome.taxonomy.top if c.category_id != OTHER]
    sure = [verdict.confidence for verdict in given]
    right = _right(case.kinds, found)
    return {
        "traces": len(case.rows),
        "kinds": len(set(case.kinds)),
        "subkinds": len(set(case.subkinds)),
        "categories": len(categories),
        "subcategories": len(outcome.taxonomy.categories) - len(outcome.taxonomy.top),
        "other": sum(category == OTHER for category in found) / len(found),
        "abstained": sum(verdict.abstained for verdict in given) / len(given),
        "top": Agreement.of(case.kinds, found).json(),
        "sub": Agreement.of(case.subkinds, below).json(),
        "hierarchy": hierarchy_consistency(case.kinds, found, below),
        "confidence": {"mean": round(mean(sure), 4), "right": round(mean(right), 4)},
        "names": [category.name for category in categories],
        "seconds": round(outcome.seconds, 2),
        "calls": outcome.calls,
        "input_tokens": outcome.input_tokens,
        "output_tokens": outcome.output_tokens,
    }


def hierarchy_consistency(kinds: Sequence[str], found: Sequence[str], below: Sequence[str]) -> float:
    """Share of traces in a subcategory whose main kind is also the main kind of its category."""
    main = {group: _main(members) for group, members in _members(kinds, found).items()}
    sub_main = {group: _main(members) for group, members in _members(kinds, below).items()}
    return round(mean(main[top] == sub_main[sub] for top, sub in zip(found, below, strict=True)), 4)


def _right(kinds: Sequence[str], found: Sequence[str]) -> list[bool]:
    main = {group: _main(members) for group, members in _members(kinds, found).items()}
    return [main[category] == kind for kind, category in zip(kinds, found, strict=True)]


def _members(truth: Sequence[str], found: Sequence[Any]) -> dict[Any, list[str]]:
    members: dict[Any, list[str]] = {}
    for true, group in zip(truth, found, strict=True):
        members.setdefault(group, []).append(true)
    return members


def _main(kinds: Sequence[str]) -> str:
    return min(Counter(kinds).items(), key=lambda item: (-item[1], item[0]))[0]


def request_of(row: TraceRow) -> str:
    """What the baselines cluster: the user's words."""
    lines = tuple(zip(row.digest_kinds, row.digest_texts, row.digest_span_ids, strict=True))
    return " ".join(parts_of(Document(row.trace_id, lines, row.tools, False)).request) or "nothing"


def compared(case: Case, embedder: MiniLM | WordStatistics) -> dict[str, dict[str, Any]]:
    """Baseline → its figures at both levels, clustered anew for each."""
    texts = [request_of(row) for row in case.rows]
    embedder.fit(texts)
    vectors = embedder.embed(texts)
    found: dict[str, dict[str, Any]] = {}
    for level, truth in (("top", case.kinds), ("sub", case.subkinds)):
        for name, labels in baselines.clusterings(texts, vectors, truth, case.seed).items():
            found.setdefault(name, {})[level] = Agreement.of(truth, labels).json()
    return found


def bench(
    cases: Iterable[Case],
    make_engine: Callable[[], Engine],
    *,
    words: bool,
    with_baselines: bool,
    repeat: bool,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Every case with its baselines; the first one twice when `repeat` asks whether a seed decides all."""
    embedder = WordStatistics() if words else load_embedder()
    results: dict[str, Any] = {"cases": [], "skipped": baselines.skipped() if with_baselines else {}}
    for number, case in enumerate(cases):
        used = _processor_seconds()
        outcome = asyncio.run(_once(make_engine, case))
        figures = {"case": case.name, "seed": case.seed} | measure(case, outcome)
        figures["cpu_seconds"] = round(_processor_seconds() - used, 2)
        if repeat and number == 0:
            again = asyncio.run(_once(make_engine, case))
            results["same_twice"] = (again.taxonomy, again.verdicts) == (outcome.taxonomy, outcome.verdicts)
        if with_baselines:
            figures["baselines"] = compared(case, embedder)
        results["cases"].append(figures)
        tell(
            f"  {case.name} #{case.seed}: {figures['traces']} traces, {figures['seconds']:.0f} s, "
            f"AMI {figures['top']['ami']:.3f} / {figures['sub']['ami']:.3f}"
        )
    # Kilobytes on Linux, of the largest child: the local engine's work is done in one.
    results["child_peak_mib"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
    return results


def _processor_seconds() -> float:
    """Of this process and of the children that have ended: what a busy machine does not change."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


async def _once(make_engine: Callable[[], Engine], case: Case) -> Outcome:
    engine = make_engine()
    try:
        return await analyse(engine, case, seed=case.seed)
    finally:
        await engine.close()


def report(results: dict[str, Any]) -> str:
    """A table a case: means over its seeds, categories / subcategories."""
    lines = []
    for name in dict.fromkeys(figures["case"] for figures in results["cases"]):
        runs = [figures for figures in results["cases"] if figures["case"] == name]
        lines += ["", _headline(name, runs), f"  {'':31}{'AMI':>13}{'ARI':>15}{'purity':>15}{'groups':>12}"]
        lines.append(_line(results["engine"], [(run["top"], run["sub"]) for run in runs]))
        for baseline in runs[0].get("baselines", {}):
            pairs = [(run["baselines"][baseline]["top"], run["baselines"][baseline]["sub"]) for run in runs]
            lines.append(_line(baseline, pairs))
        if "baselines" in runs[0]:
            lines.append(_against(runs))
    lines += [f"  {name} skipped: {reason}" for name, reason in results["skipped"].items()]
    if "same_twice" in results:
        lines.append(f"  the same seed gave the same result: {'yes' if results['same_twice'] else 'NO'}")
    lines.append(f"  peak memory of the engine's process: {results['child_peak_mib']} MiB")
    return "\n".join(lines)


def _headline(name: str, runs: Sequence[dict[str, Any]]) -> str:
    def over(key: str) -> float:
        return mean(run[key] for run in runs)

    return (
        f"{name}: {runs[0]['traces']} traces, {len(runs)} seed{'s' if len(runs) > 1 else ''}; "
        f"{runs[0]['kinds']} kinds, {over('subkinds'):.0f} below\n"
        f"  found {over('categories'):.1f} categories, {over('subcategories'):.0f} below; "
        f"other {over('other'):.1%}; hierarchy consistent for {over('hierarchy'):.0%}\n"
        f"  {over('seconds'):.1f} s ({over('cpu_seconds'):.1f} s of processor time); "
        f"{over('calls'):.0f} calls, {over('input_tokens'):.0f} tokens in, "
        f"{over('output_tokens'):.0f} out"
    )


def _line(name: str, pairs: Sequence[tuple[dict[str, float], dict[str, float]]]) -> str:
    cells = []
    for measure_ in ("ami", "ari", "purity"):
        top, sub = (mean(pair[level][measure_] for pair in pairs) for level in (0, 1))
        cells.append(f"{top:.3f} / {sub:.3f}")
    groups = [mean(pair[level]["groups"] for pair in pairs) for level in (0, 1)]
    return f"  {name:31}" + "  ".join(cells) + f"{f'{groups[0]:.0f} / {groups[1]:.0f}':>12}"


def _against(runs: Sequence[dict[str, Any]]) -> str:
    told = []
    for level in ("top", "sub"):
        ours = mean(run[level]["ami"] for run in runs)
        best, name = max(
            (mean(run["baselines"][b][level]["ami"] for run in runs), b) for b in runs[0]["baselines"]
        )
        where = "at the top" if level == "top" else "below"
        told.append(f"  AMI against the best baseline {where}: {ours - best:+.3f} ({name})")
    return "\n".join(told)
