"""The report in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from tracetaxa.report import format as fmt
from tracetaxa.report.document import (
    CategoryNode,
    Document,
    Example,
    all_read,
    bar_scale,
    children,
    fails_more,
    has_numbers,
    opened,
    units,
)
from tracetaxa.report.findings import (
    SHOWN,
    TITLE,
    findings_note,
    findings_told,
    is_extreme,
    precision_line,
    shown_for,
)
from tracetaxa.report.plain import one_line
from tracetaxa.report.quality import quality_rows
from tracetaxa.report.quote import clip
from tracetaxa.report.terminal import bar, bullets, facts, heading, indented, line, paint, unbroken
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

    from rich.console import RenderableType

_QUOTES = 2
_QUOTE_CHARS = 220
_TOOLS = 4
_VALUES = 4
_SUBCATEGORIES = 2
_EVIDENCE = 3
"""What is shown unless all is asked for: subcategories of a category, categories with their evidence."""


def render_text(
    document: Mapping[str, Any],
    width: int = 80,
    color: bool = False,
    *,
    full: bool = False,
    config: str = "",
) -> str:
    """A report document as text: what was found, then the tree, then the evidence, then what to run next.

    No line is wider than `width` cells (at least 40) but a command, which stays whole. Without `color` there
    are no escape sequences at all. Unless it is `full`, it has the largest subcategories of each category
    and the evidence of the largest categories. config: the configuration file that its reader's commands
    need, when it is not the default one.
    """
    report = opened(document)
    return paint(_report(report, width, full, config), width, color)


def _report(report: Document, width: int, full: bool, config: str) -> Iterator[RenderableType]:
    title, question = headline(report)
    yield line(title, "bold")
    yield facts(_facts(report, question))
    if note := STATUS_NOTES.get(report["status"]):
        yield line(f"\n! {note}", "yellow" if report["status"] == "partial" else "red")
        if report["error"]:
            yield indented(line(one_line(report["error"])), 2)
    yield heading("Summary")
    yield line(report["summary"].strip() or "No summary was written.")
    if report["key_points"]:
        yield heading("Key points")
        yield bullets([one_line(point) for point in report["key_points"]])
    if report["categories"]:
        yield heading("Categories")
        yield _tree(report, width, full)
        yield line(f"\n{_legend(report, width)}", "dim")
        if precise := precision_line(report):
            yield line(precise, "dim")
    if note := findings_note(report, len(findings_told(report, SHOWN))):
        yield heading(TITLE)
        yield bullets(findings_told(report, SHOWN))
        yield line(note, "dim")
    if trust := quality_rows(report):
        yield heading("Quality")
        yield facts(trust, label_width=11)
    if report["categories"]:
        yield heading("Evidence")
        shown = report["categories"] if full else _first_evidence(report)
        for number, category in enumerate(shown):
            if number:
                yield Text("")
            yield from _evidence(category, report, full)
        if left := len(report["categories"]) - len(shown):
            yield line(f"\n{left} more {'categories' if left > 1 else 'category'}: --full shows them", "dim")
    yield heading("Next")
    yield from _next(report, config)


def _facts(report: Document, question: str) -> list[tuple[str, str]]:
    totals, spend = report["totals"], report["spend"]
    rows = [
        ("analysis", f"{report['analysis']}, run {report['run_id']}, {report['status']}"),
        ("question", clip(question, 300)),
        ("window", fmt.window(report["window_start"], report["window_end"])),
        ("engine", one_line(engine_line(report))),
        ("", engine_note(report)),
        (units(report), population_line(report)),
        ("sample", sample_line(report)),
    ]
    if has_numbers(report):
        tokens = fmt.tokens(totals["input_tokens"], totals["output_tokens"])
        latency = f"p50 {fmt.duration(totals['p50_ms'])}, p95 {fmt.duration(totals['p95_ms'])}"
        rows += [
            ("overall", f"errors {fmt.percent(totals['error_rate'])}, {latency}"),
            ("agents used", f"tokens {tokens}, cost {fmt.cost(totals['cost_usd'])}"),
            ("prices", report.get("prices", "") if totals["cost_usd"] is not None else ""),
        ]
    if spend["calls"] or spend.get("cached_calls"):
        tokens = f"{fmt.count(spend['input_tokens'])} tokens in, {fmt.count(spend['output_tokens'])} out"
        calls = "model call" if spend["calls"] == 1 else "model calls"
        rows.append(
            (
                "run cost",
                (
                    f"{fmt.cost(spend['cost_usd'])} ({fmt.count(spend['calls'])} {calls}, {tokens}"
                    f"{cached_calls(report)})"
                ),
            )
        )
    return rows


def _tree(report: Document, width: int, full: bool) -> Table:
    """One row a category; a narrow terminal loses the bar first, then p50, then the interval.

    There is no column of intervals where every one of them is exact.
    """
    with_bar, with_p50, with_interval = width >= 72, width >= 60, width >= 52 and not all_read(report)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, expand=True, header_style="dim")
    table.add_column("category", ratio=1, overflow="fold")
    table.add_column("share", justify="right", no_wrap=True)
    if with_interval:
        table.add_column("95% CI", justify="right", no_wrap=True)
    if with_bar:
        cells = 10 if width < 100 else 20
        table.add_column("", width=cells, no_wrap=True)
    table.add_column("errors", justify="right", no_wrap=True)
    if with_p50:
        table.add_column("p50", justify="right", no_wrap=True)
    table.add_column("p95", justify="right", no_wrap=True)
    scale = bar_scale(report)
    for node in _rows(report, full):
        if isinstance(node, str):
            table.add_row(indented(line(node, "dim"), 2))
            continue
        sub = node["level"] > 1
        style = "" if sub else "bold"
        shares = (node["share"], node["share_low"], node["share_high"])
        cell: list[RenderableType] = [indented(line(one_line(node["name"]), style), 2 if sub else 0)]
        cell.append(Text(fmt.percent(node["share"]), style))
        if with_interval:
            cell.append(Text(fmt.interval(node["share_low"], node["share_high"]), "dim"))
        if with_bar:
            cell.append(Text(bar(*shares, scale, cells), "blue" if sub else "cyan"))
        worse = fails_more(node, report)
        mark = "▲ " if worse else ""
        cell.append(Text(mark + fmt.percent(node["error_rate"]), "red" if worse else ""))
        if with_p50:
            cell.append(Text(fmt.duration(node["p50_ms"])))
        cell.append(Text(fmt.duration(node["p95_ms"])))
        table.add_row(*cell)
    return table


def _rows(report: Document, full: bool) -> Iterator[CategoryNode | str]:
    """Categories, each followed by its subcategories, or by the largest and how many more there are.

    One more would take the line that tells of it.
    """
    for category in report["categories"]:
        yield category
        below = children(category)
        shown = below if full or len(below) <= _SUBCATEGORIES + 1 else below[:_SUBCATEGORIES]
        yield from shown
        if left := below[len(shown) :]:
            yield f"{len(left)} more, {fmt.percent(sum(node['share'] for node in left))}"


def _first_evidence(report: Document) -> list[CategoryNode]:
    """The largest categories, and whichever fail more than the window does."""
    ranked = report["categories"]
    if len(ranked) <= _EVIDENCE + 1:
        return ranked
    return [node for rank, node in enumerate(ranked) if rank < _EVIDENCE or fails_more(node, report)]


def _legend(report: Document, width: int) -> str:
    parts = [shares_of(report)]
    if width >= 72:
        blocks = "" if all_read(report) else " █ lower bound, ▓ share, ░ upper bound;"
        parts.append(f"Bars:{blocks} full width is {fmt.percent(bar_scale(report))}.")
    return " ".join([*parts, *legend_notes(report)])


def _evidence(category: CategoryNode, report: Document, full: bool) -> Iterator[RenderableType]:
    yield line(f"{one_line(category['name'])} · {fmt.percent(category['share'])}", "bold")
    if category["description"]:
        yield indented(line(one_line(category["description"])), 2)
    yield indented(facts(_category_facts(category, report, full), label_width=10), 2)
    for example in _pick(category["examples"]):
        yield from _quote(example, report)
    if withheld := category.get("withheld"):
        yield indented(line(withheld), 2)


def _category_facts(category: CategoryNode, report: Document, full: bool) -> list[tuple[str, str]]:
    """Without what the table has too, unless it is `full`."""
    errors = fmt.percent(category["error_rate"])
    if category["sampled"]:
        errors += f" ({fmt.interval(category['error_rate_low'], category['error_rate_high'])})"
    cost = fmt.cost(category["cost_usd"])
    if category["cost_usd"] is not None and category["cost_low"] is not None:
        cost += f" ({fmt.cost_interval(category['cost_low'], category['cost_high'])})"
    tokens = fmt.tokens(category["input_tokens"], category["output_tokens"])
    values = [
        (one_line(name), ", ".join(f"{one_line(v)} {fmt.percent(share)}" for v, share in _largest(shares)))
        for name, shares in category["attributes"].items()
    ]
    feedback = [f"{one_line(name)} {fmt.score(mean)}" for name, mean in category["feedback"].items()]
    tools = [f"{one_line(tool['name'])} {fmt.percent(tool['share'])}" for tool in category["tools"][:_TOOLS]]
    latency = f"p50 {fmt.duration(category['p50_ms'])}, p95 {fmt.duration(category['p95_ms'])}"
    return [
        (units(report), f"{fmt.count(category['traces'])}, from {fmt.count(category['sampled'])} labelled"),
        *((("errors", errors), ("latency", latency)) if full else ()),
        ("tokens", f"{tokens}; cost {cost}"),
        ("feedback", ", ".join(feedback)),
        ("tools", ", ".join(tools)),
        *((clip(name, 18), text) for name, text in values),
    ]


def _largest(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda item: -item[1])[:_VALUES]


def _pick(examples: list[Example]) -> list[Example]:
    """Up to two examples that don't say the same, a typical one and an extreme; those with a quote first."""
    distinct: dict[str, Example] = {}
    for example in sorted(examples, key=lambda e: not e["evidence"]):
        distinct.setdefault(one_line(example["evidence"] or example["input"]), example)
    ranked = sorted(distinct.values(), key=is_extreme)
    return [*ranked[: _QUOTES - 1], *sorted(ranked[_QUOTES - 1 :], key=lambda e: not is_extreme(e))][:_QUOTES]


def _quote(example: Example, report: Document) -> Iterator[RenderableType]:
    said = one_line(example["evidence"] or example["input"])
    yield indented(line(f"“{clip(said, _QUOTE_CHARS)}”" if said else "(no content captured)", "yellow"), 2)
    about = [f"{kind} {one_line(identity)}" for kind, identity in where_from(example, report)]
    about.append(fmt.duration(example["duration_ms"]))
    if example["status"] == "Error":
        about.append("error")
    if why := shown_for(example):
        about.append(why)
    yield indented(line(" · ".join(about), "dim"), 4)


def _next(report: Document, config: str) -> Iterator[RenderableType]:
    for why, command in next_commands(report, config=config):
        yield line(why, "dim")
        yield unbroken(f"  {command}")
