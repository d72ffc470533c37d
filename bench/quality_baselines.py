"""What an engine is compared with: clusterings of the same requests, most of them told the number of kinds.

TF-IDF with k-means; k-means and Ward on the same sentence vectors; HDBSCAN on those vectors as BERTopic does
it (Grootendorst 2022), reduced by UMAP where umap-learn is installed; and BERTopic itself where it is. The
last two are skipped with a reason elsewhere: nothing of the project needs them.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans
from sklearn.feature_extraction.text import TfidfVectorizer

from bench.quality_cases import OUT_OF_SCOPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

SKIPPED = {
    "UMAP + HDBSCAN": ("umap", "umap-learn is not installed"),
    "BERTopic": ("bertopic", "bertopic is not installed"),
}
"""Baseline → the module that it needs, and why it is not run without."""


def skipped() -> dict[str, str]:
    """Baselines that can't run here, with the reason."""
    return {name: reason for name, (module, reason) in SKIPPED.items() if find_spec(module) is None}


def clusterings(
    texts: Sequence[str], vectors: Vectors, truth: Sequence[str], seed: int
) -> dict[str, list[int]]:
    """Baseline → label of each text; -1 is noise. `truth` only says how many kinds there are."""
    k = len(set(truth) - {OUT_OF_SCOPE})
    words = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit_transform(texts)
    smallest = max(5, len(texts) // 130)
    found: dict[str, Any] = {
        "TF-IDF, k-means, true k": KMeans(k, n_init=3, random_state=seed).fit_predict(words),
        "k-means, true k": KMeans(k, n_init=10, random_state=seed).fit_predict(vectors),
        "Ward, true k": AgglomerativeClustering(k).fit_predict(vectors),
        "HDBSCAN": HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(vectors),
    }
    missing = skipped()
    if "UMAP + HDBSCAN" not in missing:
        from umap import UMAP

        reduce = UMAP(n_neighbors=15, n_components=5, min_dist=0.0, metric="cosine", random_state=seed)
        reduced = reduce.fit_transform(vectors)
        found["UMAP + HDBSCAN"] = HDBSCAN(min_cluster_size=smallest, copy=True).fit_predict(reduced)
    if "BERTopic" not in missing:
        from bertopic import BERTopic

        found["BERTopic"] = BERTopic(min_topic_size=smallest).fit_transform(list(texts), vectors)[0]
    return {name: [int(label) for label in labels] for name, labels in found.items()}
