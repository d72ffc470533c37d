"""Attributes that a model extracts and that say which traces are counted; the others are labelled as well.

The population stays what was selected. Traces that are left out are a part of it like a category, with a
share and an interval, so that the shares of the categories and of what is left out add up to one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.results.aggregate import design_of, with_verdict
from tracetaxa.analyze.statistics.estimate import proportion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tracetaxa.analyze.results.aggregate import Labelled
    from tracetaxa.records import AttributeSpec

NOWHERE = ""
"""Category id of a trace that is left out, where categories are counted; its label keeps the true one."""


def left_out_by(label: Labelled, attributes: Sequence[AttributeSpec]) -> str:
    """The first attribute whose value is none of those to keep, or not known; empty when there is none."""
    values = label.assignment.attributes
    return next((a.name for a in attributes if a.keep and values.get(a.name) not in a.keep), "")


def counted(labelled: Sequence[Labelled], attributes: Sequence[AttributeSpec]) -> list[Labelled]:
    """The same traces, those that are left out in no category."""
    return [
        replace(label, assignment=replace(label.assignment, category_id=NOWHERE, subcategory_id=""))
        if not label.assignment.abstained and left_out_by(label, attributes)
        else label
        for label in labelled
    ]


def account(
    labelled: Sequence[Labelled], attributes: Sequence[AttributeSpec], strata: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Of each attribute that restricts: what it keeps, and how many traces of the window it leaves out."""
    verdicts = with_verdict(labelled)
    design = design_of(verdicts, strata)
    reasons = [left_out_by(label, attributes) for label in verdicts]
    found = []
    for attribute in attributes:
        if attribute.keep:
            hits = [reason == attribute.name for reason in reasons]
            share = proportion(hits, design)
            found.append(
                {
                    "attribute": attribute.name,
                    "kept": list(attribute.keep),
                    "traces": round(share.value * design.population),
                    "sampled": sum(hits),
                    "share": share.value,
                    "share_low": share.low,
                    "share_high": share.high,
                }
            )
    return found
