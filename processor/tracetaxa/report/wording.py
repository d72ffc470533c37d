"""Sentences that every rendering of a report shares."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from tracetaxa.records import OTHER
from tracetaxa.report import format as fmt
from tracetaxa.report.document import (
    all_read,
    fails_more,
    has_numbers,
    lists_all_subcategories,
    units,
    walk,
    with_verdict,
)
from tracetaxa.report.plain import one_line
from tracetaxa.report.quote import clip

if TYPE_CHECKING:
    from tracetaxa.report.document import Document, Example

FAILS_MORE = "▲ error rate above the window's, even at the lower end of its interval."
"""What the mark of `document.fails_more` says."""

_TITLE_CHARS = 120

STATUS_NOTES = {
    "partial": "This run is partial: the numbers rest on what was labelled of its sample.",
    "failed": "This run failed. Numbers, where there are any, cover only what was done before.",
    "cancelled": "This run was cancelled. Numbers, where there are any, cover only what was done before.",
}
"""What a reader must know about a run that is not complete."""

_ENGINES = {"local": "local, no language model"}
_CHOICES = ("openai", "local")


_STRATA_SHOWN = 6


def headline(document: Document) -> tuple[str, str]:
    """(title, question) on one line each; the question is empty where it would only repeat the title."""
    title = one_line(document["title"]) or document["analysis"]
    question = one_line(document["instructions"])
    if title == question and len(title) <= _TITLE_CHARS:
        return title, ""
    return clip(title, _TITLE_CHARS), question


def engine_note(document: Document) -> str:
    """What a reader must know about how an engine came to its categories; mostly nothing."""
    if document["engine"] != "local":
        return ""
    return (
        f"The local engine groups {units(document)} by what sets them apart. It does not read the question, "
        "names the groups by keywords, and extracts no attributes."
    )


def engine_line(document: Document) -> str:
    engine = _ENGINES.get(document["engine"], document["engine"])
    return f"{engine} ({', '.join(document['models'])})" if document["models"] else engine


ERRORS_ARE = "Errors: the root span failed; a failed call that the agent got over does not count."


def legend_notes(report: Document) -> list[str]:
    """What a reader of the table must know, where it applies."""
    notes = [ERRORS_ARE] if has_numbers(report) else []
    if not lists_all_subcategories(report):
        notes.append(f"A category's {units(report)} without a subcategory are not listed.")
    if any(fails_more(node, report) for node in walk(report)):
        notes.append(FAILS_MORE)
    return notes


def shares_of(report: Document) -> str:
    """What the shares are of, and how sure they are."""
    certainty = f". {exactness(report)}" if all_read(report) else ", with the 95% confidence interval (CI)."
    shares = f"Shares are of all {units(report)} in the window{certainty}"
    if estimates := report.get("estimates"):
        predicted = f"{fmt.count(estimates['predicted'])} others"
        shares += f" They combine {fmt.count(estimates['labelled'])} labels with predictions for {predicted}."
    return shares


def exactness(report: Document) -> str:
    """Why shares have no interval; empty where they have one."""
    unit = units(report).removesuffix("s")
    return f"Every {unit} was read, so shares are exact." if all_read(report) else ""


def population_line(report: Document) -> str:
    """How many traces or sessions the window has, and how many of them the numbers rest on."""
    population = report["population"]
    parts = [f"{fmt.count(population['selected'])} in the window"]
    parts += [f"{fmt.count(population['sampled'])} sampled", f"{fmt.count(with_verdict(report))} labelled"]
    if copied := population.get("copied"):
        parts[-1] += f" ({fmt.count(copied)} of them by a near-duplicate that was read)"
    if population["abstained"]:
        parts.append(f"{fmt.count(population['abstained'])} without a verdict (left out)")
    if population["still_open"]:
        parts.append(f"{fmt.count(population['still_open'])} still open (left out)")
    return ", ".join(parts)


def where_from(example: Example, report: Document) -> list[tuple[str, str]]:
    """Whose words an example quotes, as (kind of id, id)."""
    if units(report) == "traces":
        return [("trace", example["trace_id"])]
    return [("session", example.get("session_id", "")), ("first trace", example["trace_id"])]


def first_example(document: Document) -> Example | None:
    """An example to look at first, of a real kind where there is one."""
    ranked = sorted(document["categories"], key=lambda c: c["category_id"] == OTHER)
    return next((example for category in ranked for example in category["examples"]), None)


_SHARED_AS = {
    "html": ("Open the report in a browser", "--format html > report.html"),
    "markdown": ("Quote the report in an issue", "--format markdown"),
}


def cached_calls(report: Document) -> str:
    """What to add where the calls of a run are counted: what came out of a cache, the provider's and ours."""
    spend = report["spend"]
    number, tokens = spend.get("cached_calls", 0), spend.get("cached_input_tokens", 0)
    share = tokens / spend["input_tokens"] if spend["input_tokens"] else 0.0
    told = f"; {share:.0%} of the input out of the provider's cache" if tokens else ""
    return f"{told}; {number:,} answered from the cache" if number else told


def sample_line(report: Document) -> str:
    """How the sample was drawn, when it was not uniform: how much of each stratum was read."""
    sample = report.get("sample")
    strata = sample.get("strata", []) if sample else []
    if sample is None or len(strata) < 2:
        return ""
    parts = [f"{s['labelled']:,} of {s['selected']:,} {one_line(s['name']) or 'without one'}" for s in strata]
    shown = ", ".join(parts[:_STRATA_SHOWN])
    more = f" and {len(parts) - _STRATA_SHOWN} more strata" if len(parts) > _STRATA_SHOWN else ""
    return f"{one_line(sample.get('strategy') or '')}: {shown}{more}; every number is weighted"


def next_commands(report: Document, shared_as: str = "html", config: str = "") -> list[tuple[str, str]]:
    """(what it is good for, the command) for a reader; `shared_as` is the other rendering to name, `config`
    the file that the reader named."""
    commands = []
    if example := first_example(report):
        what = "Read one trace" if units(report) == "traces" else "Read the first trace of a session"
        commands.append((what, f"tracetaxa trace {shlex.quote(example['trace_id'])}"))
    if report["categories"]:
        why, options = _SHARED_AS[shared_as]
        commands.append((why, f"tracetaxa report {shlex.quote(report['run_id'])} {options}"))
    elif report["status"] == "complete" and report["population"]["still_open"]:
        start = shlex.quote(report["window_start"])
        commands.append((f"Ask again when {units(report)} are closed", _analyze(report, f"--from {start}")))
    elif report["status"] == "complete":
        commands.append(("Look at a wider window, or at the filter", _analyze(report, "--window 7d")))
    if report["status"] != "complete":
        start, end = shlex.quote(report["window_start"]), shlex.quote(report["window_end"])
        first = "Raise budget.usd, or budget.overrun, and run it again"
        why = first if "budget" in report["error"].lower() else "Run it again"
        commands.append((why, _analyze(report, f"--from {start} --to {end}")))
    return [(why, with_config(command, config)) for why, command in commands]


def with_config(command: str, config: str) -> str:
    """`tracetaxa VERB …` as one that reads the same configuration; empty: the default one."""
    program, verb, *rest = command.split(" ", 2)
    return " ".join([program, verb, f"--config {shlex.quote(config)}", *rest]) if config else command


def _analyze(report: Document, window: str) -> str:
    """The command that asks the same of a window: what the document does not know is left out."""
    words = ["tracetaxa analyze", shlex.quote(report["analysis"]), window]
    if report["engine"] in _CHOICES:
        words.append(f"--engine {report['engine']}")
    if sample := report.get("sample"):
        asked = (("--sample-size", sample["size"]), ("--seed", sample["seed"]))
        words += [f"{option} {value}" for option, value in asked if value is not None]
    if question := one_line(report["instructions"]):
        words.append(f"--instructions {shlex.quote(question)}")
    return " ".join(words)
