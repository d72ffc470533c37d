"""What a report found beside its table, in the words that every rendering shares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.report import format as fmt
from tracetaxa.report.plain import one_line

if TYPE_CHECKING:
    from tracetaxa.report.document import Document, Example, Shown

TITLE = "What goes together"
SHOWN = 8
"""Findings that a reader sees at once."""


def findings_told(report: Document, most: int | None = None) -> list[str]:
    """One sentence a finding, what matters most first."""
    found = report.get("findings")
    return [one_line(finding["sentence"]) for finding in found["associations"][:most]] if found else []


def findings_note(report: Document, shown: int) -> str:
    """How much was tested, and what of that is told; empty where nothing could be tested."""
    found = report.get("findings")
    if not found or not found["tested"]:
        return ""
    rate = fmt.percent(found["false_discovery_rate"])
    tested = f"{found['tested']:,} pairs of a trait and an outcome were tested"
    if not found["found"]:
        return f"{tested}; none stands out from chance (false discovery rate {rate})."
    told = ""
    if shown != found["found"]:
        told = "; the clearest is told" if shown == 1 else f"; the clearest {shown} are told"
    stand = "stands" if found["found"] == 1 else "stand"
    return (
        f"{tested}, {found['found']:,} {stand} out from chance (false discovery rate {rate}){told}. "
        "Such pairs hint at causes and prove none."
    )


def precision_line(report: Document) -> str:
    """What a larger sample would buy; empty where all was read."""
    precision = report.get("precision")
    return " ".join(one_line(sentence) for sentence in precision["sentences"]) if precision else ""


def shown_for(example: Example) -> str:
    """Why this example and not another: 'typical', or in what it is extreme."""
    return "; ".join(_why(shown) for shown in example.get("shown_for", ()))


def is_extreme(example: Example) -> bool:
    roles = [shown["role"] for shown in example.get("shown_for", ())]
    return bool(roles) and "typical" not in roles


def _why(shown: Shown) -> str:
    value, usual = shown["value"], shown["usual"]
    match shown["role"]:
        case "slowest":
            return f"slowest: {fmt.duration(value)}, half take up to {fmt.duration(usual)}"
        case "costliest":
            return f"costliest: {fmt.cost(value)}, half cost up to {fmt.cost(usual)}"
        case "worst feedback":
            return f"worst {one_line(shown['score'])}: {fmt.score(value)}, mean {fmt.score(usual)}"
        case "least sure":
            return f"least sure: confidence {fmt.score(value)}, median {fmt.score(usual)}"
        case role:
            return one_line(role)
