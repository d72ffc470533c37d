"""Labels as span attributes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.protocols import Database
    from tracetaxa_exporter.otlp.stamp import Value


@dataclass(frozen=True, slots=True)
class Label:
    """Row of the statement `forward_labels`: the label of an analysis that counts now."""

    trace_id: str
    revision: int
    analysis: str
    run_id: str
    taxonomy_version: int
    category_id: str
    category: str
    subcategory_id: str
    subcategory: str
    confidence: float
    labeller: str
    classifier_version: str
    reason: str
    evidence: str
    evidence_span_id: str
    attributes: Mapping[str, str]
    labelled_at_ns: int
    is_final: bool
    """Its run is done: it says how sure it is in the end."""
    identity: int
    """The same for labels that say the same."""


async def load_labels(db: Database, trace_ids: Sequence[str]) -> dict[str, list[Label]]:
    """By trace; in the order of their analyses."""
    found: dict[str, list[Label]] = defaultdict(list)
    if not trace_ids:
        return found
    for label in await db.records("forward/labels", Label, trace_ids=list(trace_ids)):
        found[label.trace_id].append(label)
    return found


def label_attributes(label: Label) -> dict[str, Value]:
    """As in the view `otel_traces_labelled`, without what is empty."""
    values: dict[str, Value] = {
        "category": label.category,
        "category_id": label.category_id,
        "subcategory": label.subcategory,
        "subcategory_id": label.subcategory_id,
        "confidence": round(label.confidence, 4),
        "labeller": label.labeller,
        "taxonomy_version": label.taxonomy_version,
        "run_id": label.run_id,
        **{f"attribute.{name}": value for name, value in label.attributes.items()},
    }
    return {f"tracetaxa.{label.analysis}.{name}": value for name, value in values.items() if value != ""}
