"""Bytes of a classifier come from a database: whatever they are, reading them is safe."""

from __future__ import annotations

import json
import random
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelled import TAXONOMY, labelled
from tracetaxa.errors import ClassifierUnreadable
from tracetaxa.label import archive
from tracetaxa.label.archive import pack, unpack
from tracetaxa.label.classifier import Classifier

KNOWN = labelled(60)
NEW = labelled(30, seed=1).traces
CLASSIFIER = Classifier.train(KNOWN.traces, KNOWN.labels, TAXONOMY)
DATA = CLASSIFIER.dump()
MAGIC = DATA[: DATA.index(b"\n") + 1]
CONTENT = zlib.decompress(DATA[len(MAGIC) :])
HEADER_END = 4 + int.from_bytes(CONTENT[:4], "little")
HEADER = json.loads(CONTENT[4:HEADER_END])


def packed(content: bytes) -> bytes:
    return MAGIC + zlib.compress(content)


def with_header(**changes) -> bytes:
    told = json.dumps(HEADER | changes).encode()
    return packed(len(told).to_bytes(4, "little") + told + CONTENT[HEADER_END:])


def with_array(name: str, change) -> bytes:
    """The archive with `change` made to one of its arrays, as they lie one after the other."""
    start = HEADER_END
    for each, (kind, shape) in archive._layout(archive._Header.model_validate(HEADER, strict=False)).items():
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        if each == name:
            array = np.frombuffer(CONTENT[start : start + size], kind).copy()
            change(array)
            return packed(CONTENT[:start] + array.tobytes() + CONTENT[start + size :])
        start += size
    raise KeyError(name)


def put(value, at=0):
    def change(array):
        array[at] = value

    return change


def test_what_was_dumped_is_loaded_whole():
    loaded = Classifier.load(DATA)
    assert loaded.dump() == DATA
    assert loaded.version == CLASSIFIER.version
    assert loaded.predict(NEW) == CLASSIFIER.predict(NEW)
    assert loaded.cross_predictions == CLASSIFIER.cross_predictions
    assert loaded.trace_ids == CLASSIFIER.trace_ids
    assert loaded.categories == CLASSIFIER.categories


def test_ids_that_no_encoding_takes_do_not_stop_it():
    """Ids are text of a model or a sender."""
    strange = replace(unpack(DATA), trace_ids=tuple(f"é☃\U0001f600{i}" for i in range(60)))
    assert unpack(pack(strange)).trace_ids == strange.trace_ids


def test_nothing_of_it_is_code():
    assert b"pickle" not in CONTENT
    assert not CONTENT.startswith(b"\x80")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data):
    for attempt in (data, MAGIC + data, packed(data), packed(len(data).to_bytes(4, "little") + data)):
        with pytest.raises(ClassifierUnreadable, match="Train it again"):
            unpack(attempt)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 8))
def test_changed_bytes_are_refused_or_predict(seed, changes):
    """Where the change is only in a number, the classifier is another one, and still sound."""
    rng, content = random.Random(seed), bytearray(CONTENT)
    for _ in range(changes):
        # The header is a small part of it, and the part that matters most.
        end = rng.choice([HEADER_END, HEADER_END + 2000, len(content)])
        content[rng.randrange(end)] = rng.randrange(256)
    if rng.random() < 0.2:
        del content[rng.randrange(len(content)) :]
    try:
        loaded = Classifier.load(packed(bytes(content)))
    except ClassifierUnreadable:
        return
    told = loaded.predict(NEW[:3])
    assert all(0 <= p.confidence <= 1 and 0 <= p.likeness <= 1 for p in told)
    assert all(p.likely_id in loaded.categories for p in told)


@pytest.mark.parametrize(
    "data",
    [
        with_header(categories=["refunds", "refunds", "accounts"]),
        with_header(leaves=HEADER["leaves"][::-1]),
        with_header(leaves=[*HEADER["leaves"], [7, "x"]]),
        with_header(leaves=[[0, "late"], [0, "wrong"]]),
        with_header(trace_ids=HEADER["trace_ids"][:-1]),
        with_header(trace_ids=["x"] * 20_001),
        with_header(features=10**9),
        with_header(features=-1),
        with_header(features=HEADER["features"] + 1),
        with_header(entries=2**62),
        with_header(dimension=4096),
        with_header(unseen="NaN"),
        with_header(unseen=float("inf")),
        with_header(mixture=[1.0]),
        with_header(temperatures=[0.0, 1.0, 1.0, 1.0]),
        with_header(least_confidence=2.0),
        with_header(more="than it has"),
        with_array("keys", put(2**32 - 1)),
        with_array("keys", put(2**31, at=5)),
        with_array("starts", put(-1)),
        with_array("starts", put(2**31 - 1, at=3)),
        with_array("places", put(-5)),
        with_array("places", put(10**8)),
        with_array("values", put(np.nan)),
        with_array("weights", put(np.inf)),
        with_array("coefficients", put(3e38)),
        with_array("present", put(200)),
        with_array("cross_nearest", put(60)),
        with_array("cross_leaf", put(-2)),
        with_array("cross_category", put(-1)),
        packed(CONTENT + b"\0"),
        packed(CONTENT[:-1]),
        DATA[:-3],
        DATA[len(MAGIC) :],
        b"",
    ],
)
def test_what_does_not_fit_together_is_refused(data):
    with pytest.raises(ClassifierUnreadable, match="Train it again"):
        unpack(data)


def test_a_deep_header_is_refused():
    told = b"[" * 100_000
    with pytest.raises(ClassifierUnreadable):
        unpack(packed(len(told).to_bytes(4, "little") + told))


def test_it_unpacks_to_so_much_and_no_more(monkeypatch):
    monkeypatch.setattr(archive, "MOST_BYTES", 1_000_000)
    with pytest.raises(ClassifierUnreadable, match="more than 1,000,000 bytes"):
        unpack(packed(bytes(50_000_000)))


def test_shapes_that_would_need_much_memory_are_refused(monkeypatch):
    """Small bytes may describe a large classifier: features times kinds is what predicting holds."""
    monkeypatch.setattr(archive, "MOST_WEIGHTS", 100)
    with pytest.raises(ClassifierUnreadable, match="too many features and kinds"):
        unpack(DATA)


def test_features_of_another_version_are_told(monkeypatch):
    monkeypatch.setattr(archive, "FEATURE_VERSION", 7)
    with pytest.raises(
        ClassifierUnreadable, match="version 1, and this tracetaxa has version 7: train it again"
    ):
        Classifier.load(DATA)
