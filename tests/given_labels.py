"""Labels and taxonomies with sensible values, for tests that care about one or two of them."""

from __future__ import annotations

from typing import Any

from factories import START_NS
from tracetaxa.records import LabelRow, TaxonomyRow

NOW = START_NS + 10**15
IDS = [f"{i:032x}" for i in range(1, 5)]
TREE = {
    "refunds": ("Refunds", ""),
    "late_refund": ("Late refund", "refunds"),
    "deliveries": ("Deliveries", ""),
    "lost_parcel": ("Lost parcel", "deliveries"),
    "other": ("Other", ""),
}


def taxonomy(version: int, tree: dict[str, tuple[str, str]], analysis: str = "topics") -> list[TaxonomyRow]:
    return [
        TaxonomyRow(
            analysis, version, f"run{version}", key, parent, 2 if parent else 1, name, "", "new", (), START_NS
        )
        for key, (name, parent) in tree.items()
    ]


def label(trace_id: str = IDS[0], **changes: Any) -> LabelRow:
    values: dict[str, Any] = {
        "analysis": "topics",
        "run_id": "run1",
        "taxonomy_version": 1,
        "trace_id": trace_id,
        "revision": 1,
        "trace_start_ns": START_NS,
        "service_name": "shop",
        "session_id": "",
        "category_id": "deliveries",
        "category": "Deliveries",
        "subcategory_id": "",
        "subcategory": "",
        "confidence": 0.8,
        "labeller": "llm",
        "classifier_version": "",
        "reason": "",
        "evidence": "",
        "evidence_span_id": "",
        "attributes": {"frustrated": "true"},
        "labelled_at_ns": START_NS,
    }
    return LabelRow(**(values | changes))
