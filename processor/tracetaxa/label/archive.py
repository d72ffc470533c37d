"""A classifier as bytes: data and nothing else, so that reading one can't run anything.

A line that says what it is, then one zlib stream: the length of a JSON header, the header, and the arrays
that it implies, one after the other, little-endian. The bytes are from a database that others may write to:
what they unpack to is limited, and every number, shape and index is checked before anything is made of it.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy import sparse

from tracetaxa.errors import ClassifierUnreadable
from tracetaxa.label.calibration import Calibration, Temperatures
from tracetaxa.label.features import FEATURE_VERSION, GROUPS, KEYS, VIEWS, Lexicon
from tracetaxa.label.judging import Verdicts
from tracetaxa.label.kinds import Kinds
from tracetaxa.label.ridge import Machine
from tracetaxa.label.space import Mixture, Points

Array = npt.NDArray[Any]

MOST_BYTES = 128 * 2**20
"""Of an archive, unpacked."""
MOST_WEIGHTS = 40_000_000
"""Features times columns of scores: what predicting holds in memory, in numbers of four bytes."""

_MAGIC = b"tracetaxa classifier 1\n"
_LENGTH_BYTES = 4
_MOST_TRACES, _MOST_KINDS, _MOST_DIMENSIONS = 20_000, 4_000, 4_096
_PARTS = len(GROUPS) + len(VIEWS)
_MOST_WEIGHT = 100.0
"""Of a feature: the logarithm of a number of traces."""
_LIMITS = {
    "weights": (0.0, _MOST_WEIGHT),
    "values": (0.0, 1.001),
    "views": (-1.001, 1.001),
    "coefficients": (-1e6, 1e6),
    "offsets": (0.0, 1.0),
    "cross_confidence": (0.0, 1.0),
    "cross_likeness": (0.0, 1.0),
}
"""What the real numbers in arrays can be; nothing that fails to be a number is within."""

_Chance = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0, le=1e6)]
_Share = Annotated[float, Field(ge=0, le=1e6)]
_Text = Annotated[str, Field(max_length=1000)]


@dataclass(frozen=True, slots=True)
class Learned:
    """All that a classifier is made of."""

    embedding: str
    """Name of the embedder; empty without."""
    kinds: Kinds
    trace_ids: tuple[str, ...]
    """Of the labelled traces, n."""
    lexicon: Lexicon
    points: Points
    mixture: Mixture
    ridge: float
    machine: Machine
    calibration: Calibration
    least_confidence: float
    least_subcategory_confidence: float
    cross: Verdicts
    """On the labelled traces, by folds that did not see them."""


class _Header(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    feature_version: int
    embedding: _Text
    categories: Annotated[list[_Text], Field(min_length=1, max_length=_MOST_KINDS)]
    leaves: Annotated[list[tuple[int, _Text]], Field(min_length=1, max_length=_MOST_KINDS)]
    trace_ids: Annotated[list[_Text], Field(min_length=1, max_length=_MOST_TRACES)]
    features: Annotated[int, Field(ge=0, le=KEYS)]
    entries: Annotated[int, Field(ge=0)]
    """Numbers in the feature vectors of all traces."""
    dimension: Annotated[int, Field(ge=0, le=_MOST_DIMENSIONS)]
    unseen: Annotated[float, Field(ge=0, le=_MOST_WEIGHT)]
    mixture: Annotated[list[_Share], Field(min_length=_PARTS, max_length=_PARTS)]
    ridge: _Positive
    temperatures: tuple[_Positive, _Positive, _Positive, _Positive]
    least_likeness: _Chance
    least_confidence: _Chance
    least_subcategory_confidence: _Chance

    @property
    def columns(self) -> int:
        return len(self.categories) + 2 * len(self.leaves)


def _layout(header: _Header) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every array, in order."""
    n, f = len(header.trace_ids), header.features
    return {
        "keys": ("<u4", (f,)),
        "weights": ("<f4", (f,)),
        "starts": ("<i4", (n + 1,)),
        "places": ("<i4", (header.entries,)),
        "values": ("<f2", (header.entries,)),
        "present": ("|u1", (n, _PARTS)),
        "views": ("<f2", (len(VIEWS), n, header.dimension)),
        "coefficients": ("<f4", (n, header.columns)),
        "offsets": ("<f4", (header.columns,)),
        "cross_category": ("<i4", (n,)),
        "cross_leaf": ("<i4", (n,)),
        "cross_confidence": ("<f4", (n,)),
        "cross_likeness": ("<f4", (n,)),
        "cross_nearest": ("<i4", (n,)),
    }


def pack(learned: Learned) -> bytes:
    """The same bytes for the same classifier."""
    category, subcategory = learned.calibration.category, learned.calibration.subcategory
    header = _Header(
        feature_version=FEATURE_VERSION,
        embedding=learned.embedding,
        categories=list(learned.kinds.categories),
        leaves=list(learned.kinds.leaves),
        trace_ids=list(learned.trace_ids),
        features=len(learned.lexicon.keys),
        entries=learned.points.features.nnz,
        dimension=learned.points.views.shape[2],
        unseen=learned.lexicon.unseen,
        mixture=list(learned.mixture.weights),
        ridge=learned.ridge,
        temperatures=(category.own, category.leaf, subcategory.own, subcategory.leaf),
        least_likeness=learned.calibration.least_likeness,
        least_confidence=learned.least_confidence,
        least_subcategory_confidence=learned.least_subcategory_confidence,
    )
    arrays = {
        "keys": learned.lexicon.keys,
        "weights": learned.lexicon.weights,
        "starts": learned.points.features.indptr,
        "places": learned.points.features.indices,
        "values": learned.points.features.data,
        "present": learned.points.present,
        "views": learned.points.views,
        "coefficients": learned.machine.coefficients,
        "offsets": learned.machine.offsets,
        "cross_category": learned.cross.category,
        "cross_leaf": learned.cross.leaf,
        "cross_confidence": learned.cross.confidence,
        "cross_likeness": learned.cross.likeness,
        "cross_nearest": learned.cross.nearest,
    }
    told = header.model_dump_json().encode("utf-8", "surrogatepass")
    parts = [len(told).to_bytes(_LENGTH_BYTES, "little"), told]
    for name, (kind, shape) in _layout(header).items():
        parts.append(np.ascontiguousarray(arrays[name], dtype=kind).reshape(shape).tobytes())
    return _MAGIC + zlib.compress(b"".join(parts), 6)


def unpack(data: bytes) -> Learned:
    """Raises ClassifierUnreadable for anything that `pack` did not make, or not with these features."""
    content = _inflated(data)
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    try:
        header = _Header.model_validate_json(content[_LENGTH_BYTES:start])
    except ValidationError as error:
        raise _damaged(f"its header has {error.error_count()} errors") from error
    if header.feature_version != FEATURE_VERSION:
        raise ClassifierUnreadable(
            f"the stored classifier was made for features of version {header.feature_version}, and this "
            f"tracetaxa has version {FEATURE_VERSION}: train it again (the next run of its analysis does)"
        )
    _check_sizes(header)
    arrays: dict[str, Array] = {}
    for name, (kind, shape) in _layout(header).items():
        size = math.prod(shape) * np.dtype(kind).itemsize
        if len(content) < start + size:
            raise _damaged("it ends too soon")
        arrays[name] = np.frombuffer(content, kind, math.prod(shape), start).reshape(shape)
        start += size
    if start != len(content):
        raise _damaged("it is longer than it says")
    _check_values(header, arrays)
    return _learned(header, arrays)


def _learned(header: _Header, arrays: dict[str, Array]) -> Learned:
    shape = (len(header.trace_ids), header.features)
    values = arrays["values"].astype(np.float32)
    features = sparse.csr_array((values, arrays["places"].copy(), arrays["starts"].copy()), shape=shape)
    own, leaf, below_own, below_leaf = header.temperatures
    return Learned(
        embedding=header.embedding,
        kinds=Kinds(tuple(header.categories), tuple(header.leaves)),
        trace_ids=tuple(header.trace_ids),
        lexicon=Lexicon(arrays["keys"], arrays["weights"], header.unseen),
        points=Points(features, arrays["present"].astype(np.float32), arrays["views"].astype(np.float32)),
        mixture=Mixture(tuple(header.mixture)),
        ridge=header.ridge,
        machine=Machine(arrays["coefficients"], arrays["offsets"]),
        calibration=Calibration(
            Temperatures(own, leaf), Temperatures(below_own, below_leaf), header.least_likeness
        ),
        least_confidence=header.least_confidence,
        least_subcategory_confidence=header.least_subcategory_confidence,
        cross=Verdicts(**{name[6:]: array for name, array in arrays.items() if name.startswith("cross_")}),
    )


def _inflated(data: bytes) -> bytes:
    if not data.startswith(_MAGIC):
        raise _damaged("it does not begin as one")
    stream = zlib.decompressobj()
    try:
        content = stream.decompress(data[len(_MAGIC) :], MOST_BYTES)
    except zlib.error as error:
        raise _damaged(str(error)) from error
    if not stream.eof:
        raise _damaged(f"it is cut off, or unpacks to more than {MOST_BYTES:,} bytes")
    return content


def _check_sizes(header: _Header) -> None:
    parents = [parent for parent, _ in header.leaves]
    if sorted(parents) != parents or set(parents) != set(range(len(header.categories))):
        raise _damaged("its subcategories are not in the order of its categories")
    if len(set(header.categories)) != len(header.categories) or len(set(header.leaves)) != len(header.leaves):
        raise _damaged("a category comes twice")
    if header.features * header.columns > MOST_WEIGHTS:
        raise _damaged("it has too many features and kinds")


def _check_values(header: _Header, arrays: dict[str, Array]) -> None:
    for name, (low, high) in _LIMITS.items():
        if not ((arrays[name] >= low) & (arrays[name] <= high)).all():
            raise _damaged(f"{name} are out of range")
    n, starts = len(header.trace_ids), arrays["starts"]
    steps = np.diff(arrays["keys"].astype(np.int64))
    sound = (
        (steps > 0).all()
        and (arrays["keys"] < KEYS).all()
        and starts[0] == 0
        and starts[-1] == header.entries
        and (np.diff(starts) >= 0).all()
        and _within(arrays["places"], 0, header.features)
        and _within(arrays["present"], 0, 2)
        and _within(arrays["cross_category"], 0, len(header.categories))
        and _within(arrays["cross_leaf"], -1, len(header.leaves))
        and _within(arrays["cross_nearest"], -1, n)
    )
    if not sound:
        raise _damaged("its indices do not fit together")


def _within(places: Array, low: int, high: int) -> bool:
    return bool(((places >= low) & (places < high)).all())


def _damaged(reason: str) -> ClassifierUnreadable:
    return ClassifierUnreadable(
        f"the stored classifier can't be read: {reason}. Train it again (the next run of its analysis does)"
    )
