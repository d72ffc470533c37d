"""How well the local engine finds kinds that are known, beside frozen baselines on the same vectors.

    python -m bench.quality_local [--data ../shared/data] [--seeds 3] [--words]

CLINC150 (2,000 requests, domains and intents skewed, 5 % of them out of every scope; categories are
compared with domains, subcategories with intents), the tau runs (domain; expected write actions) and the
demo's planted behaviours. k-means and Ward get the true number of kinds, the engine does not. The score is
adjusted mutual information.
"""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans
from sklearn.metrics import adjusted_mutual_info_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bench.loaders import available, real_traffic
from bench.spans import spans_of
from tracetaxa.analyze.digest import digest
from tracetaxa.analyze.local.learner import LocalModel
from tracetaxa.analyze.local.represent import Document, parts_of
from tracetaxa.demo.shop import shop_traffic
from tracetaxa.dialects.merge import read_trace
from tracetaxa.llm.embed import MiniLM, WordStatistics
from tracetaxa.records import Brief

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.demo.traffic import PlannedTrace

CLINC = "clinc150"
OUT_OF_SCOPE = "oos"


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    documents: list[Document]
    kinds: list[str]
    subkinds: list[str]
    max_subcategories: int = 8


def document(planned: PlannedTrace, trace_id: str) -> Document:
    """A planned trace as the engine gets it: spans read and digested as the service does."""
    trace = read_trace(spans_of(planned, trace_id))
    lines = tuple((line.kind, line.text, line.span_id) for line in digest(trace).lines)
    return Document(trace_id, lines, trace.tools, trace.error_count > 0 or trace.status == "Error")


def planned(name: str, traces: Sequence[PlannedTrace]) -> Case:
    agent = [trace for trace in traces if trace.truth is not None]
    documents = [document(trace, f"{i:032x}") for i, trace in enumerate(agent)]
    truths = [trace.truth for trace in agent if trace.truth is not None]
    return Case(name, documents, [top for top, _ in truths], [f"{top}/{sub}" for top, sub in truths])


def clinc(data: Path, seed: int, requests: int = 2000, out_of_scope: float = 0.05, skew: float = 0.8) -> Case:
    """Requests drawn so that the r-th domain, and the r-th intent of a domain, has weight r^-skew."""
    rng = np.random.default_rng(seed)
    domains: dict[str, list[str]] = json.loads((data / CLINC / "domains.json").read_text())
    with gzip.open(data / CLINC / "data_full.json.gz", "rt") as file:
        splits: Mapping[str, list[list[str]]] = json.load(file)
    texts: dict[str, list[str]] = {}
    for split in splits.values():
        for text, intent in split:
            texts.setdefault(intent, []).append(text)
    weights: dict[tuple[str, str], float] = {}
    for i, domain in enumerate(rng.permutation(sorted(domains)).tolist()):
        for j, intent in enumerate(rng.permutation(sorted(domains[domain])).tolist()):
            weights[domain, intent] = ((i + 1) * (j + 1)) ** -skew
    shares = np.array(list(weights.values())) / sum(weights.values())
    counts = rng.multinomial(round(requests * (1 - out_of_scope)), shares).tolist()
    drawn = [(OUT_OF_SCOPE, OUT_OF_SCOPE, t) for t in rng.permutation(texts[OUT_OF_SCOPE]).tolist()]
    drawn = drawn[: round(requests * out_of_scope)]
    for (domain, intent), count in zip(weights, counts, strict=True):
        drawn += [(domain, intent, text) for text in rng.permutation(texts[intent]).tolist()[:count]]
    chosen = [drawn[i] for i in rng.permutation(len(drawn)).tolist()]
    documents = [
        Document(f"{i:032x}", (("user", text, "s"),), (), False) for i, (*_, text) in enumerate(chosen)
    ]
    return Case(f"clinc150 #{seed}", documents, [c[0] for c in chosen], [c[1] for c in chosen], 15)


def engine(case: Case, model: LocalModel, seed: int) -> tuple[str, float, float]:
    """What it found, and its scores at both levels."""
    brief = Brief("bench", "What do users ask for?", max_subcategories=case.max_subcategories, seed=seed)
    waiting = model.load(case.documents)
    model.embed(waiting)
    taxonomy = model.discover(brief)
    verdicts = model.assign(case.documents)
    subs = [f"{v.category_id}/{v.subcategory_id}" for v in verdicts]
    other = sum(v.category_id == "other" for v in verdicts) / len(verdicts)
    below = len(taxonomy.categories) - len(taxonomy.top)
    found = f"{len(taxonomy.top) - 1} kinds, {below} below, other {other:.0%}"
    return found, agreement(case.kinds, [v.category_id for v in verdicts]), agreement(case.subkinds, subs)


def agreement(truth: Sequence[str], found: Sequence[Any]) -> float:
    return float(adjusted_mutual_info_score(truth, found))


def baselines(case: Case, embedder: MiniLM | WordStatistics, seed: int) -> dict[str, tuple[float, float]]:
    """Clusterings of whole requests; k-means and Ward are told how many kinds there are."""
    texts = [" ".join(parts_of(document).request) for document in case.documents]
    embedder.fit(texts)
    vectors = embedder.embed(texts)
    scores: dict[str, list[float]] = {}
    for truth in (case.kinds, case.subkinds):
        k = len(set(truth) - {OUT_OF_SCOPE})
        found = {
            "k-means, true k": KMeans(k, n_init=10, random_state=seed).fit_predict(vectors),
            "Ward, true k": AgglomerativeClustering(k).fit_predict(vectors),
            "HDBSCAN": HDBSCAN(min_cluster_size=max(5, len(texts) // 130), copy=True).fit_predict(vectors),
        }
        for name, labels in found.items():
            scores.setdefault(name, []).append(agreement(truth, labels.tolist()))
    return {name: (top, sub) for name, (top, sub) in scores.items()}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=Path("../shared/data"))
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--traces", type=click.IntRange(min=50), default=1000, show_default=True, help="Of the demo.")
@click.option("--words", is_flag=True, help="With word statistics in the place of the sentence model.")
def main(data: Path, seeds: int, traces: int, words: bool) -> None:
    """Print adjusted mutual information of the local engine and of baselines: categories / subcategories."""
    threadpool_limits(1)
    embedder: MiniLM | WordStatistics = WordStatistics() if words else MiniLM()
    cases = [planned(f"demo #{s}", list(shop_traffic(traces, seed=s).traces())) for s in range(seeds)]
    if (data / CLINC).is_dir():
        cases += [clinc(data, seed) for seed in range(seeds)]
    if available(data):
        cases.append(planned("tau runs", list(real_traffic(data).traces())))
    for case in cases:
        started = time.perf_counter()
        found, top, sub = engine(case, LocalModel(embedder), seed=0)
        seconds = time.perf_counter() - started
        click.echo(
            f"{case.name}: {len(case.documents)} traces, {len(set(case.kinds))} kinds, {seconds:.1f} s"
        )
        click.echo(f"    {'local engine':16} {top:.3f} / {sub:.3f}   ({found})")
        for name, (base_top, base_sub) in baselines(case, embedder, seed=0).items():
            click.echo(f"    {name:16} {base_top:.3f} / {base_sub:.3f}")


if __name__ == "__main__":
    main()
