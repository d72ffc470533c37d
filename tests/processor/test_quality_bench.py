"""The bench that judges engines: its figures on cases that can be counted by hand, and any engine through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("sklearn", reason="the [local] extra is not installed")

from bench import quality, quality_baselines
from bench.quality_cases import demo
from bench.quality_engines import engine_maker

from tracetaxa.testing import OracleModel

if TYPE_CHECKING:
    from bench.quality_cases import Case

KINDS = ["a", "a", "a", "b", "b", "c"]


def test_agreement_counted_by_hand() -> None:
    same = quality.Agreement.of(KINDS, [7, 7, 7, 3, 3, 1])
    assert (same.ami, same.ari, same.purity, same.homogeneity, same.groups) == (1, 1, 1, 1, 3)
    merged = quality.Agreement.of(KINDS, [0, 0, 0, 0, 0, 1])
    assert (merged.purity, merged.groups) == (pytest.approx(4 / 6), 2)
    assert 0 < merged.ami < 1
    assert quality.Agreement.of(KINDS, [0] * 6).ami == pytest.approx(0)


def test_subcategories_are_consistent_with_their_category() -> None:
    found = ["x", "x", "x", "x", "x", "y"]
    below = ["x/1", "x/1", "x/1", "x/2", "x/2", "y/"]
    # The main kind of x is a, that of x/2 is b: two of six traces are in a subcategory that does not fit.
    assert quality.hierarchy_consistency(KINDS, found, below) == pytest.approx(4 / 6, abs=1e-4)
    assert quality.hierarchy_consistency(KINDS, found, [f"{f}/" for f in found]) == 1


def small_demo() -> Case:
    return demo(60, seed=0)


def test_any_endpoint_can_be_measured() -> None:
    """A model that knows the truth scores one, and its calls and tokens are those that the server counted."""
    case = small_demo()
    truth = {
        row.digest.text: (kind, sub)
        for row, kind, sub in zip(case.rows, case.kinds, case.subkinds, strict=True)
    }

    def known(digest: str) -> tuple[str, str] | None:
        return truth.get(digest)

    told: list[str] = []
    with OracleModel(known) as model:
        make, name = engine_maker("openai", model.base_url, "scripted", "default", words=False)
        results = quality.bench(
            [case], make, words=True, with_baselines=True, repeat=False, tell=told.append
        ) | {"engine": name}
        (figures,) = results["cases"]
        assert (figures["calls"], figures["input_tokens"]) == (model.usage.calls, model.usage.input_tokens)
    assert figures["calls"] > 0
    assert figures["top"]["ami"] == figures["sub"]["ami"] == pytest.approx(1)
    assert (figures["other"], figures["abstained"], figures["hierarchy"]) == (0, 0, 1)
    assert set(figures["baselines"]) >= {
        "TF-IDF, k-means, true k",
        "k-means, true k",
        "Ward, true k",
        "HDBSCAN",
    }
    text = quality.report(results)
    assert "AMI against the best baseline at the top: +" in text
    assert all(f"{name} skipped: " in text for name in quality_baselines.skipped())
    assert max(map(len, text.splitlines())) <= 100
    assert len(told) == 1


def test_baselines_are_told_the_number_of_kinds_and_leave_out_what_is_in_none() -> None:
    case = small_demo()
    texts = [quality.request_of(row) for row in case.rows]
    truth = [*case.kinds[:-3], "oos", "oos", "oos"]
    embedder = quality.WordStatistics()
    embedder.fit(texts)
    found = quality_baselines.clusterings(texts, embedder.embed(texts), truth, seed=0)
    kinds = len(set(truth)) - 1
    assert {len(set(found[name])) for name in found if "true k" in name} == {kinds}
    assert all(len(labels) == len(texts) for labels in found.values())
