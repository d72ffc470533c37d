"""Every rendering of the report document: goldens, and what must hold whatever the document says.

`TRACETAXA_UPDATE_GOLDENS=1 pytest tests/processor/test_report_renderings.py` writes the goldens anew.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import html
import json
import os
import re
import shlex
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.cells import cell_len

from tracetaxa.report.html import content_security_policy, render_html, render_index
from tracetaxa.report.markdown import escaped, render_markdown
from tracetaxa.report.plain import one_line
from tracetaxa.report.text import render_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from markdown_it.token import Token

DATA = Path(__file__).parents[1] / "data" / "report"
REALISTIC: dict[str, Any] = json.loads((DATA / "document.json").read_text())

HOSTILE = [
    "<script>alert(1)</script>",
    "</style></title></details><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "{{ 7 * 7 }} {% raw %}",
    "\x1b[2J\x1b]8;;http://evil.example\x07click\x1b]8;;\x07\x9b31m",
    "\u202egnp.exe \u2067 \x00 \ud800 \u2028",
    "| a | b |\n|---|---|\n| `c` | ``",
    "\n# heading\n\n```\n~~~\n> quote\n* item\n1. item\n---\n===",
    "![x](http://evil.example/x.png) [x](javascript:alert(1)) <http://evil.example>",
    "http://evil.example www.evil.example",
    "x" * 1000,
    "漢字" * 300,
    "👩‍👩‍👧🇯🇵" * 60,
    "",
]


def document(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(REALISTIC), **changes}


def empty() -> dict[str, Any]:
    return document(
        categories=[],
        key_points=[],
        summary="No closed trace matched this window.",
        population=dict.fromkeys(("selected", "sampled", "labelled", "abstained", "still_open"), 0),
        spend={"calls": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": None},
    )


def priceless() -> dict[str, Any]:
    return with_every(document(), lambda key, value: None if key.startswith("cost_") else value)


def without_examples() -> dict[str, Any]:
    return with_every(document(), lambda key, value: [] if key in ("examples", "tools") else value)


def large() -> dict[str, Any]:
    """Twelve categories of eight subcategories each."""
    categories = []
    for number in range(12):
        category = copy.deepcopy(REALISTIC["categories"][number % 4])
        category |= {"category_id": f"c{number}", "name": f"{category['name']} {number}"}
        sub = REALISTIC["categories"][0]["subcategories"][0]
        category["subcategories"] = [
            {**copy.deepcopy(sub), "category_id": f"c{number}.{n}"} for n in range(8)
        ]
        categories.append(category)
    return document(categories=categories)


def hostile(text: str) -> dict[str, Any]:
    """The realistic document with `text` as every string and every key that comes from content."""
    kept = {"status", "engine", "window_start", "window_end", "created_at", "category_id", "parent_id"}
    changed = with_every(document(), lambda key, v: text if isinstance(v, str) and key not in kept else v)
    for category in changed["categories"]:
        category["attributes"] = {text: {text: 0.5}}
        category["feedback"] = {text: 0.5}
    return changed


def with_every(value: Any, change: Callable[[str, Any], Any], key: str = "") -> Any:
    """A copy of a JSON value with `change(key, value)` applied to everything under a key."""
    if isinstance(value, dict):
        return {k: with_every(change(k, v), change, k) for k, v in value.items()}
    if isinstance(value, list):
        return [with_every(change(key, item), change, key) for item in value]
    return value


DOCUMENTS = {
    "realistic": document,
    "empty": empty,
    "priceless": priceless,
    "without examples": without_examples,
    "large": large,
    "local": lambda: document(engine="local", models=[]),
    "partial": lambda: document(status="partial", error="The budget of $2.00 was reached."),
    "failed": lambda: {**empty(), "status": "failed", "error": "the provider refuses the key"},
    "cancelled": lambda: document(status="cancelled"),
    **{f"hostile {number}": (lambda text=text: hostile(text)) for number, text in enumerate(HOSTILE)},
}
RUNS = [
    {
        "run_id": f"run-{status}",
        "analysis": "failures",
        "status": status,
        "window_start": "2026-11-20T00:00:00Z",
        "window_end": "2026-11-21T00:00:00Z",
        "engine": "openai",
        "selected": 12345,
        "cost_usd": cost,
    }
    for status, cost in [("running", None), ("complete", 0.8123), ("partial", 2.0), ("failed", None)]
]


@pytest.fixture(params=DOCUMENTS)
def any_document(request: pytest.FixtureRequest) -> dict[str, Any]:
    return DOCUMENTS[request.param]()


# ----------------------------------------------------------------------------------------------- goldens


@pytest.mark.parametrize(
    ("name", "render"),
    [
        ("report.txt", lambda: render_text(document(), full=True)),
        ("report-60.txt", lambda: render_text(document(), width=60)),
        ("report-failed.txt", lambda: render_text(DOCUMENTS["failed"]())),
        ("report.md", lambda: render_markdown(document())),
        ("report.html", lambda: render_html(document())),
        ("index.html", lambda: render_index(RUNS)),
        ("index-empty.html", lambda: render_index([])),
    ],
)
def test_golden(name: str, render: Callable[[], str]) -> None:
    path, rendered = DATA / name, render()
    if os.environ.get("TRACETAXA_UPDATE_GOLDENS"):
        path.write_text(rendered)
    assert rendered == path.read_text(), f"{name} changed; look at it, then set TRACETAXA_UPDATE_GOLDENS=1"


def test_a_rendering_leaves_the_document_as_it_was() -> None:
    given_document = document()
    for render in (render_text, render_markdown, render_html):
        render(given_document)
    assert given_document == REALISTIC


# ----------------------------------------------------------------------------------------------- text


def wrapped_lines(text: str) -> list[str]:
    """All lines but commands, which are never cut."""
    body, following = text.split("\nNEXT\n")
    return [*body.split("\n"), *(x for x in following.split("\n") if not x.startswith("  tracetaxa "))]


@pytest.mark.parametrize("width", [40, 55, 80, 132])
def test_no_line_of_text_is_wider_than_the_terminal(any_document: dict[str, Any], width: int) -> None:
    for line in wrapped_lines(render_text(any_document, width=width, full=True)):
        assert cell_len(line) <= width, line


@pytest.mark.parametrize("render", [render_text, render_markdown, render_html])
def test_no_control_character_reaches_the_reader(
    any_document: dict[str, Any], render: Callable[[dict[str, Any]], str]
) -> None:
    rendered = render(any_document)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", rendered)
    assert rendered.endswith("\n")


def test_color_is_the_only_escape_and_changes_no_text() -> None:
    colored = render_text(hostile(HOSTILE[4]), color=True, full=True)
    assert "\x1b[1m" in colored
    bare = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert [line.rstrip() for line in bare.split("\n")] == render_text(hostile(HOSTILE[4]), full=True).split(
        "\n"
    )


def test_text_says_what_to_act_on() -> None:
    text = render_text(document())
    assert re.search(r"Refund lookups time out +34% +31–37% █+▓ +▲ 62% +8.4 s +1 min 4 s", text)
    assert "“I need my refund for order 88213 because it never arrived.”" in text
    assert "tracetaxa trace 4bf92f3577b34da6a3ce929d0e0e4736" in text
    assert "12,345 in the window, 1,000 sampled, 980 labelled" in text
    assert "tracetaxa report 9f2c41d07be8a35166d0c1e2 --format html" in text


def test_commands_quote_what_they_name() -> None:
    text = render_text({**empty(), "analysis": "x; rm -rf /"})
    assert "tracetaxa analyze 'x; rm -rf /' --window 7d" in text


@pytest.mark.parametrize("render", [render_text, render_markdown])
@pytest.mark.parametrize("status", ["partial", "failed", "cancelled"])
def test_running_it_again_asks_the_same(status: str, render: Callable[[dict[str, Any]], str]) -> None:
    question = "What's asked,\n and `why`?"
    rendered = render(document(status=status, instructions=question, sample={"size": 160, "seed": 7}))
    (command,) = re.findall(r"tracetaxa analyze.*\?'", rendered)
    assert shlex.split(command) == [
        *("tracetaxa", "analyze", "failures"),
        *("--from", "2026-11-20T00:00:00Z", "--to", "2026-11-21T00:00:00Z"),
        *("--engine", "openai", "--sample-size", "160", "--seed", "7"),
        *("--instructions", "What's asked, and `why`?"),
    ]


def test_a_command_leaves_out_what_the_document_does_not_know() -> None:
    unknown = document(status="failed", engine="scripted", instructions="")
    del unknown["sample"]
    text = render_text(unknown)
    assert "tracetaxa analyze failures --from 2026-11-20T00:00:00Z --to 2026-11-21T00:00:00Z\n" in text


@pytest.mark.parametrize("render", [render_text, render_markdown, render_html])
def test_commands_read_the_configuration_that_was_named(render: Callable[..., str]) -> None:
    said = html.unescape(render(document(), config="my conf.yaml"))
    commands = re.findall(r"tracetaxa (?:trace|report|analyze) .{24}", said)
    assert len(commands) >= 2
    assert all(re.match(r"tracetaxa \w+ --config 'my conf.yaml' ", command) for command in commands)
    assert "--config" not in render(document())


def many(categories: int, subcategories: int) -> dict[str, Any]:
    """A report with so many categories, each with so many subcategories."""
    first = document()["categories"][0]
    subs = [{**first["subcategories"][0], "name": f"Sub {n}", "share": 0.01} for n in range(subcategories)]
    return document(
        categories=[
            {**first, "name": f"Kind {n}", "error_rate_low": 0.0, "subcategories": subs}
            for n in range(categories)
        ]
    )


def test_a_terminal_has_the_largest_and_says_what_it_leaves_out() -> None:
    given = many(10, 8)
    given["categories"][8]["error_rate_low"] = 0.9
    short, full = render_text(given), render_text(given, full=True)
    assert (short.count("  Sub "), full.count("  Sub ")) == (20, 80)
    assert short.count("6 more, 6.0%") == 10
    shown = re.findall(r"^(Kind \d) ·", short, re.MULTILINE)
    assert shown == ["Kind 0", "Kind 1", "Kind 2", "Kind 8"]
    assert "6 more categories: --full shows them" in short
    assert len(re.findall(r"^Kind \d ·", full, re.MULTILINE)) == 10
    assert "more" not in full.split("CATEGORIES")[1].split("EVIDENCE")[0]
    small = render_text(many(4, 3))
    assert ("more" in small, small.count("  Sub ")) == (False, 12)


def test_tokens_that_nobody_counted_are_unknown_and_not_none() -> None:
    given = document()
    for numbers in (given["totals"], *given["categories"]):
        numbers["input_tokens"] = numbers["output_tokens"] = 0
        for sub in numbers.get("subcategories", []):
            sub["input_tokens"] = sub["output_tokens"] = 0
    assert "tokens unknown, cost" in render_text(given)
    assert "0 in, 0 out" not in render_text(given)
    assert "| – / – |" in render_markdown(given)
    assert "0 / 0" not in render_markdown(given)
    page = " ".join("".join(Page(render_html(given)).text).split())
    assert "Tokens in –" in page.replace("Tokens in–", "Tokens in –")


@pytest.mark.parametrize("render", [render_text, render_markdown, render_html])
def test_a_spent_budget_is_raised_first(render: Callable[[dict[str, Any]], str]) -> None:
    advice = "Raise budget.usd, or budget.overrun"
    assert advice in render(document(status="partial", error="most often: Budget reached"))
    assert advice not in render(document(status="partial", error="the model does not answer"))


# ------------------------------------------------------------------------------------- honest about numbers

RENDERINGS = [
    partial(render_text, full=True),
    render_markdown,
    lambda given: "".join(Page(render_html(given)).text),
]


@pytest.fixture(params=RENDERINGS, ids=["text", "markdown", "html"])
def shown(request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], str]:
    """A rendering with its white space evened out."""
    return lambda given: " ".join(request.param(given).split())


def exact() -> dict[str, Any]:
    """The document as if every trace had been read."""
    given = document()
    for node in [n for c in given["categories"] for n in (c, *c.get("subcategories", []))]:
        for name in ("share", "error_rate"):
            node[f"{name}_low"] = node[f"{name}_high"] = node[name]
    return given


def test_no_interval_is_announced_where_there_is_none(shown: Callable[[dict[str, Any]], str]) -> None:
    sentence, ci = "Every trace was read, so shares are exact.", re.compile("95% confidence interval")
    assert sentence in shown(exact())
    assert not ci.search(shown(exact()))
    assert sentence not in shown(document())
    assert ci.search(shown(document()))


def test_nothing_labelled_is_no_zeros(shown: Callable[[dict[str, Any]], str]) -> None:
    population = {"selected": 160, "sampled": 160, "labelled": 160, "abstained": 160, "still_open": 0}
    totals = dict.fromkeys(document()["totals"])
    none = shown({**empty(), "status": "partial", "population": population, "totals": totals})
    assert "160 sampled, 0 labelled, 160 without a verdict (left out)" in none
    assert not re.search(r"p50|0 ms|Latency|errors \d|tokens", none)
    assert "p50" in shown(document())


def test_a_reader_learns_what_the_local_engine_can_not(shown: Callable[[dict[str, Any]], str]) -> None:
    notice = "does not read the question"
    assert notice in shown(document(engine="local", models=[]))
    assert notice not in shown(document())


def test_unlisted_traces_of_a_category_are_mentioned(shown: Callable[[dict[str, Any]], str]) -> None:
    note = "A category's traces without a subcategory are not listed."
    assert note in shown(document())
    full = document()
    for category in full["categories"]:
        if category["subcategories"]:
            category["subcategories"][0]["sampled"] = category["sampled"]
    assert note not in shown(full)


@pytest.mark.parametrize("render", [render_markdown, render_html])
def test_money_in_one_table_reads_alike(render: Callable[[dict[str, Any]], str]) -> None:
    given = document()
    for category, usd in zip(given["categories"], [0.17, 0.0752, 0.001, None, 0.0], strict=True):
        category |= {"cost_usd": usd, "cost_low": usd, "cost_high": usd, "subcategories": []}
    rendered = render(given)
    assert all(
        text in rendered.replace("&lt;", "<").replace("\\", "") for text in ("$0.17", "$0.08", "<$0.01")
    )
    assert "0.0752" not in rendered


# ----------------------------------------------------------------------------------------------- markdown


def tokens(markdown: str) -> Iterator[Token]:
    for block in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown):
        yield block
        yield from block.children or ()


def test_markdown_content_makes_no_markup(any_document: dict[str, Any]) -> None:
    found = list(tokens(render_markdown(any_document)))
    kinds = {token.type for token in found}
    assert not kinds & {
        "html_block",
        "html_inline",
        "link_open",
        "image",
        "fence",
        "code_block",
        "hr",
        "s_open",
    }
    headings = [token.tag for token in found if token.type == "heading_open"]
    assert headings.count("h1") == 1
    assert headings.count("h3") == len(any_document["categories"])
    nodes = sum(1 + len(c.get("subcategories", [])) for c in any_document["categories"])
    rows = sum(token.type == "tr_open" for token in found)
    cells = sum(token.type in ("th_open", "td_open") for token in found)
    assert rows == (nodes + 1 if nodes else 0)
    assert cells == rows * 9


@given(st.text(st.one_of(st.sampled_from("\\`*_{}[]()<>#+-.!|~&;:/=\"'1 \n\t"), st.characters())))
def test_escaped_markdown_renders_as_itself(content: str) -> None:
    found = list(tokens(escaped(content)))
    kinds = {"paragraph_open", "inline", "text", "text_special", "paragraph_close"}
    assert {token.type for token in found} <= kinds
    shown = "".join(token.content for token in found if token.type in ("text", "text_special"))
    assert shown == one_line(content)


@pytest.mark.parametrize(
    "url", ["http://a.example", "https://a.example", "www.a.example", "WWW.a.example", "ftp://a"]
)
def test_bare_addresses_are_not_links_in_github_flavour(url: str) -> None:
    assert not re.search(r"(?i)(https?|ftp):|www\.", escaped(f"see {url}"))


# ----------------------------------------------------------------------------------------------- html


class Page(HTMLParser):
    """Collects elements, attributes and text; refuses what is not nested well."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.style = ""
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {attrs}"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text.append(data)

    def count(self, tag: str, **attributes: str) -> int:
        return sum(t == tag and attributes.items() <= a.items() for t, a in self.elements)


def assert_harmless(page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag not in ("script", "img", "iframe", "object", "embed", "link", "base", "form", "video"), tag
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{tag} {name}"
            assert name not in ("style", "src", "srcset", "xlink:href", "data", "action"), f"{tag} {name}"
            assert name != "href" or re.match(r"#|/(?!/)", value or ""), value
    assert not re.search(r"url\(|@import|http", page.style)


def test_html_is_well_formed_and_harmless(any_document: dict[str, Any]) -> None:
    page = Page(render_html(any_document))
    assert_harmless(page)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert page.count("h1") == 1


def test_html_shows_content_as_it_is() -> None:
    text = "".join(Page(render_html(document())).text)
    assert "<script>alert(1)</script> & other “instructions” in tool results" in text
    assert "返品ポリシーを日本語で質問 🇯🇵" in text


def test_html_marks_evidence_where_the_user_said_it() -> None:
    page = render_html(document())
    assert "<mark>I need my refund for order 88213 because it never arrived.</mark>" in page
    assert "<mark>lookup_order failed: upstream request timeout after 30000 ms</mark>" in page


def test_html_allows_its_own_style_and_nothing_else() -> None:
    page = Page(render_html(document()))
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    (policy,) = (a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == content_security_policy()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_html_has_a_row_to_open_for_every_category() -> None:
    page = Page(render_html(large()))
    assert page.count("details", **{"class": "node level-1"}) == 12
    assert page.count("details", **{"class": "node level-2"}) == 96
    assert page.count("caption") >= 1


def test_index_links_finished_runs() -> None:
    page = Page(render_index([*RUNS, {**RUNS[1], "run_id": '../x"><script>', "analysis": "<b>"}]))
    assert_harmless(page)
    links = [a["href"] for tag, a in page.elements if tag == "a" and a["href"] != "#main"]
    assert links == [
        "/reports/run-complete",
        "/reports/run-partial",
        "/reports/run-failed",
        "/reports/..%2Fx%22%3E%3Cscript%3E",
    ]


def test_empty_index_tells_how_to_begin() -> None:
    page = Page(render_index([]))
    assert_harmless(page)
    assert "tracetaxa analyze topics" in "".join(page.text)


# ----------------------------------------------------------------------------------------------- all


@settings(max_examples=30, deadline=None)
@given(
    st.text(st.one_of(st.sampled_from("<>&\"'`|*_[]()\\\x00\x1b\x9b\u202e\u2067\n\t 漢👩"), st.characters()))
)
def test_any_text_is_drawn_safely(text: str) -> None:
    found = hostile(text)
    found["categories"] = found["categories"][:1]
    assert_harmless(Page(render_html(found)))
    kinds = {token.type for token in tokens(render_markdown(found))}
    assert not kinds & {"html_block", "html_inline", "link_open", "image", "fence", "code_block", "hr"}
    assert all(cell_len(line) <= 80 for line in wrapped_lines(render_text(found)))


@pytest.mark.parametrize(
    ("still_open", "says"), [(0, "wider window, or at the filter"), (3, "when traces are closed")]
)
def test_an_empty_report_says_what_may_help(still_open: int, says: str) -> None:
    report = empty()
    report["population"] |= {"still_open": still_open}
    following = " ".join(render_text(report, width=80).split("NEXT")[-1].split())
    assert says in following
    assert (f"--from {report['window_start']}" in following) == bool(still_open)
