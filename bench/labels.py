"""The classifier that is distilled from a run's labels: `python -m bench labels`.

CLINC150 with oracle labels: it learns from 1,000 requests of the source's `train` and `test` parts, drawn at
random, and predicts the other 19,600. What is out of every scope (5 %) has the label `other` there; a second
run learns from a sample without any, so that it meets something new. Everything that was chosen by looking at
results (features, mixtures, thresholds) was chosen on the source's `val` part, which has no part here.

Throughput is in CPU time of one thread, the best round: of ready digests, and of whole traces of the real
agent runs, from spans to label. Memory is what a process of its own takes above what it had before.
"""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bench.loaders import available, real_traffic
from bench.quality_cases import OUT_OF_SCOPE, Case, clinc_splits, row_of, tau
from bench.spans import spans_of
from tracetaxa.dialects import read_trace
from tracetaxa.label.classifier import Classifier, Prediction
from tracetaxa.llm.embed import MiniLM
from tracetaxa.records import OTHER, Assignment, Category, Taxonomy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from tracetaxa.label.space import Embedder
    from tracetaxa.records import TraceRow

    Array = npt.NDArray[Any]

SPLITS = ("train", "test", "oos_train", "oos_test")
BINS = 15
CONFIDENT = 0.8
FORCED = {"least_confidence": 0.0, "least_subcategory_confidence": 0.0, "unlike": 0.0}
"""Never to abstain, for what is measured at full coverage."""
_LABELS_OF_RUNS = 300
_EMBEDDED_RUNS = 100


class Remembering:
    """An embedder that has each text embedded once: the figures need the same ones again and again."""

    def __init__(self, embedder: MiniLM) -> None:
        self.name = embedder.name
        self._embedder = embedder
        self._known: dict[str, Array] = {}

    def embed(self, texts: Sequence[str]) -> Array:
        new = [text for text in texts if text not in self._known]
        self._known.update(zip(new, self._embedder.embed(new), strict=True))
        return np.stack([self._known[text] for text in texts])


def taxonomy_of(case: Case) -> Taxonomy:
    """The true one, which the labels go by."""
    pairs = sorted(set(zip(case.kinds, case.subkinds, strict=True)))
    tops = [Category(kind, kind, "") for kind in sorted({kind for kind, _ in pairs if kind != OUT_OF_SCOPE})]
    below = [Category(sub, sub, "", kind) for kind, sub in pairs if kind != OUT_OF_SCOPE]
    return Taxonomy((*tops, Category(OTHER, "Other", ""), *below))


def train(case: Case, sample: Sequence[int], embedder: Embedder | None, **settings: Any) -> Classifier:
    labels = [
        Assignment(case.rows[i].trace_id, OTHER, "", 1.0)
        if case.kinds[i] == OUT_OF_SCOPE
        else Assignment(case.rows[i].trace_id, case.kinds[i], case.subkinds[i], 1.0)
        for i in sample
    ]
    rows = [case.rows[i] for i in sample]
    return Classifier.train(rows, labels, taxonomy_of(case), embedder=embedder, **settings)


def figures(
    case: Case, seed: int, labels: int, embedder: Embedder | None, *, with_other: bool
) -> dict[str, float]:
    """One seed: how right, how sure, and what it makes of what is out of scope."""
    order = np.random.default_rng(seed).permutation(len(case.rows))
    sample, rest = order[:labels].tolist(), order[labels:].tolist()
    if not with_other:
        sample = [i for i in sample if case.kinds[i] != OUT_OF_SCOPE]
    rows = [case.rows[i] for i in rest]
    kinds = np.array([OTHER if case.kinds[i] == OUT_OF_SCOPE else case.kinds[i] for i in rest])
    subkinds = np.array([case.subkinds[i] for i in rest])
    started = time.process_time()
    classifier = train(case, sample, embedder, seed=seed)
    seconds = time.process_time() - started
    told = classifier.predict(rows)
    forced = train(case, sample, embedder, seed=seed, **FORCED).predict(rows)
    return {
        "labels": len(sample),
        "train_seconds": seconds,
        "archive_kib": len(classifier.dump()) / 1024,
        **_at_full_coverage(forced, kinds, subkinds),
        **_with_abstentions(told, kinds, subkinds),
    }


def _at_full_coverage(forced: Sequence[Prediction], kinds: Array, subkinds: Array) -> dict[str, float]:
    category = np.array([p.likely_id for p in forced])
    subcategory = np.array([p.subcategory_id for p in forced])
    confidence = np.array([p.confidence for p in forced])
    known = kinds != OTHER
    right = category == kinds
    known_score = np.where(category == OTHER, 0.0, confidence)
    return {
        "domain": float(right[known].mean()),
        "domain_confident": float(_most(confidence[known], right[known]).mean()),
        "all_confident": float(_most(confidence, right).mean()),
        "intent_in_right_domain": float((subcategory == subkinds)[known & right].mean()),
        "intent": float((subcategory == subkinds)[known].mean()),
        "auroc": float(roc_auc_score(known, known_score)),
        "auroc_likeness": float(roc_auc_score(known, [p.likeness for p in forced])),
        "ece": calibration_error(confidence, right),
        "ece_in_scope": calibration_error(confidence[known], right[known]),
    }


def _with_abstentions(told: Sequence[Prediction], kinds: Array, subkinds: Array) -> dict[str, float]:
    abstained = np.array([p.abstained for p in told])
    category = np.array([p.category_id for p in told])
    subcategory = np.array([p.subcategory_id for p in told])
    known = kinds != OTHER
    named = known & (subcategory != "")
    return {
        "abstained_in_scope": float(abstained[known].mean()),
        "domain_kept": float((category == kinds)[known & ~abstained].mean()),
        "intent_told": float(named.sum() / known.sum()),
        "intent_told_right": float((subcategory == subkinds)[named].mean()),
        "out_of_scope_abstained": float(abstained[~known].mean()),
        "out_of_scope_other": float((category == OTHER)[~known].mean()),
    }


def _most(confidence: Array, right: Array) -> Array:
    """Whether right, of the most confident."""
    order = np.argsort(-confidence, kind="stable")
    return right[order[: round(CONFIDENT * len(order))]]


def calibration_error(confidence: Array, right: Array) -> float:
    """Expected calibration error over bins of equal mass."""
    bins = np.array_split(np.argsort(confidence, kind="stable"), BINS)
    return float(sum(len(b) * abs(confidence[b].mean() - right[b].mean()) for b in bins) / len(confidence))


# -------------------------------------------------------------------------------------- cost


def throughput(data: Path, case: Case, rounds: int, embedder: MiniLM | None) -> dict[str, float]:
    """Traces a second."""
    sample = np.random.default_rng(0).permutation(len(case.rows))[:1000].tolist()
    classifier = train(case, sample, embedder)
    ready = case.rows[:: 40 if embedder else 4]
    found = {"requests": _rate(lambda: classifier.predict(ready), len(ready), rounds)}
    if available(data):
        runs = tau(data, 10_000)
        of_runs = train(runs, range(_LABELS_OF_RUNS), embedder)
        most = _EMBEDDED_RUNS if embedder else len(runs.rows)
        spans = [spans_of(planned, f"{i:032x}") for i, planned in enumerate(real_traffic(data).traces())][
            :most
        ]

        def rows() -> list[TraceRow]:
            return [row_of(read_trace(one)) for one in spans]

        found["runs"] = _rate(lambda: of_runs.predict(runs.rows[:most]), most, rounds)
        found["runs to rows"] = _rate(rows, most, rounds)
        found["runs from spans"] = _rate(lambda: of_runs.predict(rows()), most, rounds)
    return found


def _rate(work: Callable[[], Any], traces: int, rounds: int) -> float:
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return traces / best


def memory_mib(data: Path, embedded: bool) -> float:
    """Peak of a process that learns from 1,000 requests and predicts the others, above the requests alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory, (data, embedded))


def _memory(data: Path, embedded: bool) -> float:
    case = clinc_splits(data, SPLITS)
    before = _process_mib("VmRSS")
    with threadpool_limits(1):
        classifier = train(case, range(0, len(case.rows), 20), MiniLM(threads=1) if embedded else None)
        classifier.predict(case.rows[:: 10 if embedded else 1])
    return _process_mib("VmHWM") - before


def _process_mib(line: str) -> float:
    """Of /proc: what getrusage tells as the peak of a child begins with its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{line}:")[1].split()[0]) / 1024


# -------------------------------------------------------------------------------------- all


def bench(
    data: Path, seeds: int, labels: int, rounds: int, embedded: bool, tell: Callable[[str], None]
) -> dict[str, Any]:
    case = clinc_splits(data, SPLITS)
    result: dict[str, Any] = {"requests": len(case.rows), "labels": labels, "seeds": seeds}
    with threadpool_limits(1):
        embedders: dict[str, Remembering | None] = {"words": None}
        if embedded:
            embedders["embeddings"] = Remembering(MiniLM(threads=1))
        for name, embedder in embedders.items():
            for with_other in (True, False):
                what = name if with_other else f"{name}, no label other"
                runs = [figures(case, seed, labels, embedder, with_other=with_other) for seed in range(seeds)]
                result[what] = {key: round(mean(run[key] for run in runs), 4) for key in runs[0]}
                tell(f"  {what}: domain {result[what]['domain']:.3f}")
        model = MiniLM(threads=1) if embedded else None
        result["traces_per_second"] = {
            name: {
                k: round(v) for k, v in throughput(data, case, rounds, model if embedder else None).items()
            }
            for name, embedder in embedders.items()
        }
    result["memory_mib"] = {name: round(memory_mib(data, bool(e))) for name, e in embedders.items()}
    return result


def report(result: dict[str, Any]) -> str:
    told = {name: value for name, value in result.items() if isinstance(value, dict) and "domain" in value}
    rows = {
        "domain": "domain, all in scope",
        "domain_confident": "domain, confident 80 % in scope",
        "all_confident": "category, confident 80 % of all",
        "intent_in_right_domain": "intent, where the domain is right",
        "intent": "intent, all in scope",
        "ece": "expected calibration error",
        "auroc": "out of scope, AUROC of confidence",
        "auroc_likeness": "out of scope, AUROC of likeness",
        "out_of_scope_other": "out of scope labelled other",
        "abstained_in_scope": "in scope, abstained",
        "domain_kept": "domain, not abstained",
        "intent_told": "intent told",
        "intent_told_right": "intent right where told",
        "train_seconds": "seconds to learn",
        "archive_kib": "size, KiB",
    }
    lines = [f"{result['requests'] - result['labels']:,} requests by {result['labels']:,} labels", ""]
    lines.append(f"{'':34}" + "".join(f"{name[:22]:>24}" for name in told))
    for key, words in rows.items():
        digits = 0 if key == "archive_kib" else 3
        lines.append(f"{words:34}" + "".join(f"{figure[key]:24.{digits}f}" for figure in told.values()))
    for name, rates in result["traces_per_second"].items():
        lines.append(f"{name}: " + ", ".join(f"{what} {rate:,} /s" for what, rate in rates.items()))
    lines += [f"{name}: {mib} MiB above the requests" for name, mib in result["memory_mib"].items()]
    return "\n".join(lines)
