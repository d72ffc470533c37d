"""Checks prose against the table that it was written from: every number and every trace id in a sentence must
stand in the document, as what the sentence says that it is.

A share is looked for among the shares and rates of the categories that the sentence names (of the window
where it names none), a time among times, a count among counts, to the digits that the sentence gives.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tracetaxa.records import OTHER

log = logging.getLogger(__name__)

_NUMBER = re.compile(r"(?<![\w.])(\d[\d,]*(?:\.\d+)?)(?:(%)|\s?(ms|s|times)(?!\w))?")
_BETWEEN = re.compile(r"\((\d[\d.,]*) to (\d[\d.,]*)\)")
"""The interval of a ratio."""
_TRACE_ID = re.compile(r"(?<!\w)(?=[0-9a-f]*\d)[0-9a-f]{16,32}(?!\w)")
_CONFIDENCE = re.compile(r"(?<!\w)95% (?=interval|chance)")

_SHARES = re.compile(r".*(?:share|error_rate|rate_with|rate_without|margin)(?:s|_low|_high)?$")
_TIMES = re.compile(r".*_ms$")
_RATIOS = re.compile(r"^ratio(?:_low|_high)?$")
_APART = frozenset(
    {"categories", "subcategories", "examples", "findings", "precision", "attributes", "tools"}
)
"""Parts of the document that are taken in only where a sentence is about them."""

_Pools = dict[str, set[float]]


def sound(sentences: Iterable[str], document: Mapping[str, Any], quoted: Sequence[str] = ()) -> list[str]:
    """The sentences that agree with the document; the others are logged and dropped.

    `quoted`: texts that may stand in a sentence as they are, such as the reason of an abstention.
    """
    kept = []
    for sentence in sentences:
        if problem := find_problem(sentence, document, quoted):
            log.error("left out of the report, since %s: %s", problem, sentence)
        else:
            kept.append(sentence)
    return kept


def find_problem(sentence: str, document: Mapping[str, Any], quoted: Sequence[str] = ()) -> str:
    """What the document does not bear out; empty when all is well."""
    nodes = [n for n in _nodes(document) if _has(sentence, n["name"])]
    told = [f for f in _findings(document) if f["sentence"] == sentence]
    names = [*quoted, *(n["name"] for n in _nodes(document)), *(f["category"] for f in told)]
    names += [text for f in told for text in (f["name"], f["value"])]
    numbers, words = [[n for n in set(names) if n and _is_number(n) is wanted] for wanted in (True, False)]
    rest = _without(sentence, words)
    known = {identity for node in _nodes(document) for identity in _trace_ids(node)}
    for found in _TRACE_ID.findall(rest):
        if found not in known:
            return f"no trace {found} is in the report"
    rest = _CONFIDENCE.sub("", _TRACE_ID.sub(" ", rest))
    pools = _pools(document, nodes, told)
    for low, high in _BETWEEN.findall(rest):
        for bound in (low, high):
            if not _is_known(bound, pools["times"]):
                return f"no ratio is {bound}"
    for number, percent, unit in _NUMBER.findall(_without(_BETWEEN.sub(" ", rest), numbers)):
        kind = "%" if percent else unit or "count"
        if not _is_known(number, map(_SHOWN.get(kind, float), pools[kind])):
            return f"{number}{percent or (unit and ' ' + unit)} is none of its numbers"
    return ""


def _without(sentence: str, names: Iterable[str]) -> str:
    for name in sorted(names, key=lambda name: (-len(name), name)):
        sentence = _pattern(name).sub(" ", sentence)
    return sentence


def _is_number(name: str) -> bool:
    return _NUMBER.fullmatch(name) is not None


_SHOWN: dict[str, Callable[[float], float]] = {"%": lambda share: share * 100, "s": lambda ms: ms / 1000}


def _is_known(number: str, pool: Iterable[float]) -> bool:
    """Whether a number of the pool reads like this one to as many decimals."""
    decimals = len(number.partition(".")[2])
    plain = number.replace(",", "").rstrip(".")
    return any(f"{value:.{decimals}f}" == plain for value in pool)


# -------------------------------------------------------------------------------------------- the document


def _nodes(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for category in document["categories"]:
        yield category
        yield from category.get("subcategories", ())


def _findings(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = (document.get("findings") or {}).get("associations", ())
    return found


def _trace_ids(node: Mapping[str, Any]) -> Iterator[str]:
    return (example["trace_id"] for example in node.get("examples", ()))


def _has(sentence: str, name: str) -> bool:
    return bool(name) and _pattern(name).search(sentence) is not None


def _pattern(name: str) -> re.Pattern[str]:
    """The name as a word of its own, and not a digit of a number."""
    return re.compile(rf"(?<![\w.,]){re.escape(name)}(?![\w%])(?![.,]\d)")


def _pools(
    document: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]], told: Sequence[Mapping[str, Any]]
) -> _Pools:
    pools: _Pools = defaultdict(set)
    others = [n for n in document["categories"] if n["category_id"] == OTHER]
    whole = [{k: v for k, v in document.items() if k in ("population", "totals")}]
    precision = document.get("precision") or {}
    ids = {node["category_id"] for node in nodes}
    margins = [m for m in precision.get("categories", ()) if m["category_id"] in ids]
    reread = (document.get("quality") or {}).get("agreement") or {}
    estimates = document.get("estimates") or {}
    general = (*whole, reread, estimates, *document.get("left_out", ()))
    for part in told or (*general, *others, *nodes, precision, *margins):
        _collect(part, pools)
    findings = document.get("findings") or {}
    pools["count"] |= {float(findings.get(key, 0)) for key in ("tested", "found")}
    population = document["population"]
    kinds = [n for n in document["categories"] if n["category_id"] != OTHER]
    verdicts = population["labelled"] - population["abstained"]
    missing = population["sampled"] - population["labelled"]
    pools["count"] |= {float(len(kinds)), float(verdicts), float(missing)}
    for finding in told:
        if finding["value"].replace(".", "", 1).isdigit():
            pools["count"].add(float(finding["value"]))
    pools["ms"] = pools["s"]
    return pools


def _collect(part: Mapping[str, Any], pools: _Pools) -> None:
    for key, value in part.items():
        if key in _APART:
            continue
        if isinstance(value, Mapping):
            _collect(value, pools)
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if _SHARES.match(key):
                pools["%"].add(float(number))
            elif _TIMES.match(key):
                pools["s"].add(float(number))
            elif _RATIOS.match(key):
                pools["times"].add(float(number))
            elif isinstance(number, int):
                pools["count"].add(float(number))
