"""Reports as single web pages: no script, nothing loaded from anywhere; they can be mailed and archived."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote as url_quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tracetaxa.report import format as fmt
from tracetaxa.report.document import (
    CategoryNode,
    Tool,
    bar_scale,
    fails_more,
    has_numbers,
    opened,
    units,
    walk,
)
from tracetaxa.report.findings import SHOWN, TITLE, findings_note, findings_told, precision_line, shown_for
from tracetaxa.report.plain import plain_tree
from tracetaxa.report.quality import quality_rows
from tracetaxa.report.quote import clip, excerpt
from tracetaxa.report.wording import (
    FAILS_MORE,
    STATUS_NOTES,
    cached_calls,
    engine_line,
    engine_note,
    exactness,
    headline,
    legend_notes,
    next_commands,
    population_line,
    with_config,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_EXCERPT_CHARS = 600
_ROWS = 8


def render_html(document: Mapping[str, Any], config: str = "") -> str:
    """A report document as one page: summary, the window, a tree to open row by row, the run.

    config: the configuration file that its reader's commands need, when it is not the default one.
    """
    report = opened(document)
    nodes = list(walk(report))
    scale = bar_scale(report)
    title, question = headline(report)

    def along(share: float) -> str:
        return f"{min(1.0, max(0.0, share / scale)):.2%}"

    return _render(
        "report.html.j2",
        report=report,
        title=title,
        question=question,
        status_note=STATUS_NOTES.get(report["status"], ""),
        paragraphs=[p.strip() for p in re.split(r"\n\s*\n", report["summary"]) if p.strip()],
        scale=f"{scale:.0%}",
        along=along,
        all_categories=nodes,
        names={node["category_id"]: node["name"] for node in nodes},
        fails_more=lambda node: fails_more(node, report),
        legend=[note for note in legend_notes(report) if note != FAILS_MORE],
        worse=FAILS_MORE.removeprefix("▲") if FAILS_MORE in legend_notes(report) else "",
        exact=exactness(report),
        units=units(report),
        measured=has_numbers(report),
        engine_note=engine_note(report),
        cached=cached_calls(report),
        places=fmt.cost_places(node["cost_usd"] for node in nodes),
        population=population_line(report),
        engine=engine_line(report),
        commands=next_commands(report, shared_as="markdown", config=config),
        trace_command=with_config("tracetaxa trace", config),
        trust=quality_rows(report),
        findings=findings_told(report, SHOWN),
        more_findings=findings_told(report)[SHOWN:],
        findings_title=TITLE,
        findings_note=findings_note(report, len(findings_told(report))),
        precision=precision_line(report),
    )


def render_index(runs: Sequence[Mapping[str, Any]]) -> str:
    """The page that lists runs in the order given, each linked to `/reports/<run_id>` if it has a report.

    A run is what `tracetaxa analyze --format json` prints: run_id, analysis, status, window_start and
    window_end (RFC 3339), engine, selected (how many traces or sessions), cost_usd. Shown where they are
    there: `title`, `error`, `scheduled_for`; `has_report` says whether there is one.
    """
    places = fmt.cost_places(run["cost_usd"] for run in runs)
    absent = {"title": "", "error": None, "scheduled_for": None}
    rows = [absent | {"has_report": run["status"] != "running"} | plain_tree(run) for run in runs]
    return _render("index.html.j2", runs=rows, places=places)


def content_security_policy() -> str:
    """The policy in every page (our style sheet and nothing else), for a server to send as a header too."""
    digest = base64.b64encode(hashlib.sha256(_style_sheet().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _render(template: str, **values: Any) -> str:
    page = _environment().get_template(template)
    return page.render(css=Markup(_style_sheet()), policy=content_security_policy(), **values) + "\n"  # noqa: S704


@cache
def _style_sheet() -> str:
    environment = _environment()
    assert environment.loader is not None
    source, _, _ = environment.loader.get_source(environment, "page.css")
    return source


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tracetaxa.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "anchor": _anchor,
        "clip": lambda text: clip(text, _EXCERPT_CHARS),
        "compact": fmt.compact,
        "cost": fmt.cost,
        "cost_interval": fmt.cost_interval,
        "count": fmt.count,
        "duration": fmt.duration,
        "excerpt": lambda text, quote: excerpt(text, quote, _EXCERPT_CHARS),
        "interval": fmt.interval,
        "largest": _largest,
        "pairs": _pairs,
        "percent": fmt.percent,
        "report_path": lambda run: f"/reports/{url_quote(run['run_id'], safe='')}",
        "score": fmt.score,
        "shown_for": shown_for,
        "when": fmt.when,
        "window": _window,
    }
    return environment


def _anchor(node: CategoryNode) -> str:
    """A fragment that stays from run to run, so that a link to a category can be kept."""
    return "category-" + re.sub(r"[^\w.-]+", "-", node["category_id"])


def _window(start: str, end: str) -> Markup:
    """A window that breaks between its two times if it must, never inside a date."""
    times = fmt.window(start, end).split(" – ")
    return Markup(" – ").join(Markup('<span class="time">{}</span>').format(time) for time in times)


def _largest(shares: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(shares.items(), key=lambda item: -item[1])[:_ROWS]


def _pairs(tools: Sequence[Tool]) -> list[tuple[str, float]]:
    return [(tool["name"], tool["share"]) for tool in tools[:_ROWS]]
