"""The report as GitHub-flavoured Markdown, for pull requests, wikis and chat."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tracetaxa.report import format as fmt
from tracetaxa.report.document import (
    CategoryNode,
    Document,
    Example,
    children,
    fails_more,
    has_numbers,
    opened,
    units,
    walk,
)
from tracetaxa.report.findings import TITLE, findings_note, findings_told, precision_line, shown_for
from tracetaxa.report.plain import one_line
from tracetaxa.report.quality import quality_rows
from tracetaxa.report.quote import clip
from tracetaxa.report.wording import (
    STATUS_NOTES,
    cached_calls,
    engine_line,
    engine_note,
    headline,
    legend_notes,
    next_commands,
    population_line,
    sample_line,
    shares_of,
    where_from,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~$])")
_LINKS = re.compile(r"(?i)\b(?:(https?|ftp|mailto|xmpp)(?=:)|(www)(?=\.))(.)")
_BLOCK = re.compile(r"^(?:([-+=])|(\d{1,9})([.)])(?=\s|$))")
_LIMIT = 500


def escaped(text: str) -> str:
    """Content as one line of Markdown that renders as itself: no markup, HTML, table cell or link in it.

    CommonMark 0.31 section 2.4 lets any ASCII punctuation be escaped; GFM's autolinks (section 6.9) are
    undone by escaping the character after the scheme.
    """
    text = _SPECIAL.sub(r"\\\1", one_line(text).replace("&", "&amp;"))
    text = text.replace("\\<", "&lt;").replace("\\>", "&gt;")
    text = _LINKS.sub(lambda m: f"{m[1] or m[2]}\\{m[3]}", text)
    return _BLOCK.sub(lambda m: f"\\{m[1]}" if m[1] else f"{m[2]}\\{m[3]}", text)


def code(text: str) -> str:
    """Content as a code span, its fence longer than any run of backticks inside (CommonMark section 6.1)."""
    text = one_line(text)
    if not text:
        return ""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence, pad = "`" * (longest + 1), " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def render_markdown(document: Mapping[str, Any], config: str = "") -> str:
    """A report document as Markdown: summary, key points, one table of all categories, the evidence.

    config: the configuration file that its reader's commands need, when it is not the default one.
    """
    report = opened(document)
    return "\n\n".join(_blocks(report, config)) + "\n"


def _blocks(report: Document, config: str) -> Iterator[str]:
    title, question = headline(report)
    yield f"# {escaped(title)}"
    if question:
        yield f"> {escaped(question)}"
    if how := engine_note(report):
        yield escaped(how)
    if note := STATUS_NOTES.get(report["status"]):
        yield f"**{note}**"
        if report["error"]:
            yield code(report["error"])
    for paragraph in re.split(r"\n\s*\n", report["summary"]):
        if paragraph.strip():
            yield escaped(paragraph)
    if report["key_points"]:
        yield "## Key points"
        yield "\n".join(f"- {escaped(point)}" for point in report["key_points"])
    yield "## Run"
    yield "\n".join(f"- {name}: {value}" for name, value in _facts(report))
    if report["categories"]:
        yield "## Categories"
        yield _table(report)
        yield " ".join(map(escaped, [shares_of(report), *legend_notes(report)]))
    if note := findings_note(report, len(findings_told(report))):
        yield f"## {TITLE}"
        if told := findings_told(report):
            yield "\n".join(f"- {escaped(sentence)}" for sentence in told)
        yield escaped(note)
    if trust := quality_rows(report):
        yield "## Quality"
        yield "\n".join(f"- {escaped(name.capitalize())}: {escaped(text)}" for name, text in trust)
    if report["categories"]:
        yield "## Evidence"
        for category in report["categories"]:
            yield from _evidence(category, report)
    yield "## Next"
    yield "\n".join(f"- {why}: {code(command)}" for why, command in next_commands(report, config=config))


def _facts(report: Document) -> Iterator[tuple[str, str]]:
    totals, spend = report["totals"], report["spend"]
    yield "Window", escaped(fmt.window(report["window_start"], report["window_end"]))
    yield units(report).capitalize(), population_line(report)
    if drawn := sample_line(report):
        yield "Sample", escaped(drawn)
    if precise := precision_line(report):
        yield "Precision", escaped(precise)
    if has_numbers(report):
        latency = f"p50 {fmt.duration(totals['p50_ms'])}, p95 {fmt.duration(totals['p95_ms'])}"
        numbers = (
            f"errors {fmt.percent(totals['error_rate'])}, {latency}, cost {fmt.cost(totals['cost_usd'])}"
        )
        yield "Overall", escaped(numbers)
        if totals["cost_usd"] is not None and report.get("prices"):
            yield "Prices", escaped(report["prices"])
    yield "Engine", escaped(engine_line(report))
    if spend["calls"] or spend.get("cached_calls"):
        calls = f"{fmt.count(spend['calls'])} model calls{cached_calls(report)}"
        yield "Run cost", f"{escaped(fmt.cost(spend['cost_usd']))} ({calls})"
    yield "Id", f"{code(report['run_id'])} of {code(report['analysis'])}, {escaped(report['status'])}"


def _share(rate: float) -> str:
    return escaped(fmt.percent(rate))


def _table(report: Document) -> str:
    rows = [
        "| Category | Share | 95% interval | Errors | p50 | p95 | Tokens in / out | Cost | Feedback |",
        "|:--|--:|--:|--:|--:|--:|--:|--:|:--|",
    ]
    places = fmt.cost_places(node["cost_usd"] for node in walk(report))
    for node in walk(report):
        name = f"↳ {escaped(node['name'])}" if node["level"] > 1 else f"**{escaped(node['name'])}**"
        mark = "▲ " if fails_more(node, report) else ""
        cells = (
            name,
            _share(node["share"]),
            escaped(fmt.interval(node["share_low"], node["share_high"])),
            mark + _share(node["error_rate"]),
            escaped(fmt.duration(node["p50_ms"])),
            escaped(fmt.duration(node["p95_ms"])),
            f"{fmt.compact(node['input_tokens'])} / {fmt.compact(node['output_tokens'])}",
            escaped(fmt.cost(node["cost_usd"], places)),
            ", ".join(f"{escaped(key)} {fmt.score(mean)}" for key, mean in node["feedback"].items()),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _evidence(category: CategoryNode, report: Document) -> Iterator[str]:
    yield f"### {escaped(category['name'])}"
    if category["description"]:
        yield escaped(category["description"])
    rests_on = (
        f"{fmt.count(category['traces'])} {units(report)}, from {fmt.count(category['sampled'])} labelled"
    )
    about = [f"- {rests_on}; errors {_share(category['error_rate'])}"]
    if category["tools"]:
        used = ", ".join(f"{code(tool['name'])} {_share(tool['share'])}" for tool in category["tools"])
        about.append(f"- Tools: {used}")
    for name, shares in category["attributes"].items():
        values = ", ".join(f"{code(value)} {_share(share)}" for value, share in shares.items())
        about.append(f"- {escaped(name)}: {values}")
    if children(category):
        about.append("- Subcategories:")
        about += [
            f"  - **{escaped(sub['name'])}**: {escaped(sub['description'])}" for sub in children(category)
        ]
    yield "\n".join(about)
    for example in category["examples"]:
        yield _quote(example, report)
    if withheld := category.get("withheld"):
        yield escaped(withheld)


def _quote(example: Example, report: Document) -> str:
    said = example["evidence"] or example["input"]
    quote = f"“{escaped(clip(one_line(said), _LIMIT))}”" if said else "(no content captured)"
    ids = " · ".join(
        code(identity) if kind == "trace" else f"{kind} {code(identity)}"
        for kind, identity in where_from(example, report)
    )
    facts = f"{ids} · {escaped(fmt.duration(example['duration_ms']))}"
    if example["status"] == "Error":
        facts += " · error"
    if why := shown_for(example):
        facts += f" · {escaped(why)}"
    if example["reason"]:
        facts += f" · {escaped(clip(one_line(example['reason']), _LIMIT))}"
    return f"> {quote}\n>\n> {facts}"
