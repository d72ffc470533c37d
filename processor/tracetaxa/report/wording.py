"""Sentences that every rendering of a report shares."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from tracetaxa.records import OTHER
from tracetaxa.report import format as fmt
from tracetaxa.report.plain import one_line
from tracetaxa.report.quote import clip

if TYPE_CHECKING:
    from tracetaxa.report.document import Document, Example

FAILS_MORE = "▲ error rate above the window's, even at the lower end of its interval."
"""What the mark of `document.fails_more` says."""

_TITLE_CHARS = 120

STATUS_NOTES = {
    "partial": "This run stopped before its whole sample was labelled. The numbers rest on what was.",
    "failed": "This run failed. Numbers, where there are any, cover only what was done before.",
    "cancelled": "This run was cancelled. Numbers, where there are any, cover only what was done before.",
}
"""What a reader must know about a run that is not complete."""

ENGINE_NOTES = {"local": "local engine, no language model: names are keywords"}


def headline(document: Document) -> tuple[str, str]:
    """(title, question) on one line each; the question is empty where it would only repeat the title."""
    title = one_line(document["title"]) or document["analysis"]
    question = one_line(document["instructions"])
    if title == question and len(title) <= _TITLE_CHARS:
        return title, ""
    return clip(title, _TITLE_CHARS), question


def engine_line(document: Document) -> str:
    engine = ENGINE_NOTES.get(document["engine"], document["engine"])
    return f"{engine} ({', '.join(document['models'])})" if document["models"] else engine


def population_line(report: Document) -> str:
    """How many traces the window has, and how many of them the numbers rest on."""
    population = report["population"]
    parts = [f"{fmt.count(population['selected'])} in the window"]
    parts += [f"{fmt.count(population[key])} {key}" for key in ("sampled", "labelled")]
    if population["abstained"]:
        parts.append(f"{fmt.count(population['abstained'])} without a verdict (counted as other)")
    if population["still_open"]:
        parts.append(f"{fmt.count(population['still_open'])} still open (left out)")
    return ", ".join(parts)


def first_example(document: Document) -> Example | None:
    """An example to look at first, of a real kind where there is one."""
    ranked = sorted(document["categories"], key=lambda c: c["category_id"] == OTHER)
    return next((example for category in ranked for example in category["examples"]), None)


_SHARED_AS = {
    "html": ("Open the report in a browser", "--format html > report.html"),
    "markdown": ("Quote the report in an issue", "--format markdown"),
}


def next_commands(report: Document, shared_as: str = "html") -> list[tuple[str, str]]:
    """(what it is good for, the command) for a reader; `shared_as` is the other rendering to name."""
    run, analysis = shlex.quote(report["run_id"]), shlex.quote(report["analysis"])
    commands = []
    if example := first_example(report):
        commands.append(("Read one trace", f"tracetaxa trace {shlex.quote(example['trace_id'])}"))
    if report["categories"]:
        why, options = _SHARED_AS[shared_as]
        commands.append((why, f"tracetaxa report {run} {options}"))
    elif report["status"] == "complete":
        commands.append(("Look at a wider window", f"tracetaxa analyze {analysis} --window 7d"))
    else:
        start, end = shlex.quote(report["window_start"]), shlex.quote(report["window_end"])
        commands.append(("Run it again", f"tracetaxa analyze {analysis} --from {start} --to {end}"))
    return commands
