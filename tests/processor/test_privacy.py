"""Nothing planted in a trace, wherever it can carry text, reaches a model or a report while redaction is on."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from factories import START_NS, trace_row
from genai_spans import SECOND, Spans, assistant, calls, event, returns, user
from redaction_hooks import NAMES
from tracetaxa.analyze.redaction.patterns import KINDS
from tracetaxa.analyze.redaction.redact import Redactor
from tracetaxa.analyze.redaction.withhold import NOBODY_IS_NAMED, person_of, withhold
from tracetaxa.analyze.results.aggregate import Labelled
from tracetaxa.check import _people
from tracetaxa.config import AnalysisConfig, Config
from tracetaxa.dialects import read_trace
from tracetaxa.dialects.values import limited
from tracetaxa.errors import ConfigError, RedactionFailed
from tracetaxa.jobs import RunRequest, run_request
from tracetaxa.privacy import build_redactor, describe_redaction, load_hook
from tracetaxa.records import Assignment, ReportRow, SampledTrace
from tracetaxa.report.html import render_html
from tracetaxa.report.markdown import render_markdown
from tracetaxa.report.text import render_text
from tracetaxa.service import _to_row
from tracetaxa.testing import OracleModel

if TYPE_CHECKING:
    from tracetaxa.records import RunRow, TraceRow
    from tracetaxa.store.database import ClickHouse

SECRETS: dict[str, tuple[tuple[str, str], ...]] = {
    # kind: (what is said before it, the secret)
    "email": (("mail me at ", "jane.doe@mail.wonderland.org"), ("", "jürgen@müllerhof.de")),
    "phone": (("call ", "+49 170 1234567"), ("", "(555) 010-4477"), ("my phone is ", "5550104477")),
    "card": (("card ", "4242 4242 4242 4242"), ("", "3782-822463-10005")),
    "iban": (("IBAN ", "DE89 3704 0044 0532 0130 00"), ("", "GB82WEST12345698765432")),
    "ssn": (("SSN ", "536-90-4399"),),
    "key": (
        ("", "sk-proj-abcDEF123456_7890-xyzXYZ"),
        ("OPENAI_API_KEY=", "hunter2hunter2hunter2"),
        ("", "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----"),
    ),
    "token": (
        ("", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"),
        ("Authorization: Bearer ", "abcdef0123456789abcdef"),
        ("access_token: ", "q8w7e6r5t4y3"),
    ),
    "password": (
        ("DB_PASSWORD=", "correct9horse"),
        ("my password is ", "tr0ub4dor"),
        ("postgres://admin:", "s3cretpw@"),
    ),
    "ip": (("from ", "203.1.114.77"), ("from ", "2a02:8070:8ea1:dc00::47b1")),
}
OWN = "E-483920"
PIECE = 7
"""So many characters of a secret in a row, or more, must not be left."""


def config(privacy: dict[str, Any], **analysis: Any) -> Config:
    """Digests long enough to tell everything."""
    return Config(
        privacy=privacy,
        analyses=[AnalysisConfig(name="topics", **analysis)],
        assembly={"digest_tokens": 8000},
        llm={"engine": "openai", "taxonomy_model": "scripted", "assignment_model": "scripted"},
    )


def planted(number: int, said: str) -> Spans:
    """A trace that says `said` everywhere."""
    spans = Spans()
    root = spans.agent(
        resource={"service.name": "shop", "deployment.note": said},
        status="Error",
        message=f"failed with {said}",
        gen_ai__conversation__id=f"{said} {number}",
        user__id=f"{said}",
        customer__note=said,
        events=(
            event(
                "gen_ai.evaluation.result",
                gen_ai__evaluation__name="thumbs",
                gen_ai__evaluation__score__value=0,
                gen_ai__evaluation__explanation=f"bad: {said}",
            ),
        ),
    )
    ask = [user(f"Where is order {number}? {said}")]
    call = calls("get_order", {"note": said, "nested": json.dumps({"note": said})}, "c1", f"I look: {said}")
    spans.chat(root, ask, [call])
    spans.tool(
        root,
        "get_order",
        status="Error",
        message=f"tool failed: {said}",
        gen_ai__tool__call__arguments=json.dumps({"note": said}),
        gen_ai__tool__call__result=f"not found: {said}",
    )
    spans.tool(root, f"look up {said}", gen_ai__tool__call__result=json.dumps({"seen": [said]}))
    answer = [assistant(f"Sorry about {said}, it is late.")]
    spans.chat(root, [*ask, call, returns(f"not found: {said}", "c1")], answer)
    return spans


def rows(settings: Config, said: list[str]) -> list[TraceRow]:
    """As the service would write them; the root span's name says it too."""
    to_row = _to_row(settings)
    made = []
    for number, text in enumerate(said):
        spans = planted(number, text).all
        spans[0] = replace(spans[0], name=f"invoke_agent {text}")
        trace = replace(
            read_trace(spans), trace_id=f"{number:032x}", start_ns=START_NS, end_ns=START_NS + 9 * SECOND
        )
        made.append(to_row(trace, 1, START_NS))
    return made


def analyse(store: ClickHouse, settings: Config, made: list[TraceRow]) -> tuple[RunRow, str, list[str]]:
    """The run, everything that came of it as one text, and the requests that the model got."""

    async def go(base_url: str) -> tuple[RunRow, list[Any]]:
        run = await make(store, settings, made, base_url)
        (report,) = await store.records("reading/report_by_run", ReportRow, run_id=run.run_id)
        document = json.loads(report.document)
        taxonomy = await store.rows("analysis/last_taxonomy", analysis="topics")
        labels = [await store.rows("reading/labels_of_trace", trace_id=row.trace_id) for row in made]
        renderings = [render_text(document, width=100), render_markdown(document), render_html(document)]
        return run, [report, renderings, taxonomy, labels, run]

    with OracleModel(lambda digest: ("Orders", "Late")) as model:
        run, outcome = asyncio.run(go(model.base_url))
    return run, repr(outcome), [json.dumps(r.body, ensure_ascii=False) for r in model.requests]


async def make(store: ClickHouse, settings: Config, made: list[TraceRow], base_url: str) -> RunRow:
    await store.insert("traces", made)
    used = settings.model_copy(update={"llm": settings.llm.model_copy(update={"base_url": base_url})})
    request = RunRequest("topics", window_start_ns=START_NS, window_end_ns=START_NS + SECOND)

    async def nothing_open(unit: str) -> int:
        return 0

    return await run_request(used, store, request, still_open=nothing_open)


def pieces(secret: str) -> set[str]:
    """What of a secret must not be found again: parts of it, white space and escapes apart."""
    plain = " ".join(secret.split())
    return {plain[i : i + PIECE] for i in range(len(plain) - PIECE + 1)} or {plain}


def test_every_kind_is_in_the_corpus() -> None:
    assert set(SECRETS) == set(KINDS)


def test_no_secret_reaches_the_model_or_the_report(store: ClickHouse) -> None:
    corpus = [pair for pairs in SECRETS.values() for pair in pairs]
    said = [f"{before}{secret}{'db/x' * secret.endswith('@')} ok?" for before, secret in corpus] + [
        f"badge {OWN}, {NAMES[0]}"
    ]
    settings = config(
        {
            "redact": "on",
            "patterns": [{"name": "badge", "regex": r"\bE-\d{6}\b"}],
            "hook": "redaction_hooks:hide_names",
        }
    )
    made = rows(settings, said)
    # What is looked for is there before: the rows hold the raw text in every place.
    for row, text in zip(made, said, strict=True):
        assert text.split()[-2] in f"{row.digest_texts} {row.attributes} {row.root_name} {row.tools}"
    # A hook leaves ids alone: what panels join by.
    made[-1] = replace(made[-1], session_id="s", user_id="u")
    run, outcome, requests = analyse(store, settings, made)
    assert (run.status, run.traces_labelled) == ("complete", len(said))
    assert len(requests) > 2
    everything = [outcome, *requests]
    for before, secret in [*corpus, ("", OWN), *(("", name) for name in NAMES)]:
        for piece in pieces(secret):
            around = [text[max(at - 60, 0) : at + 60] for text in everything if (at := text.find(piece)) >= 0]
            assert around == [], (before, secret, piece)
    for placeholder in [*(f"[{kind}]" for kind in KINDS), "[badge]", "[name]"]:
        assert any(placeholder in text for text in requests), placeholder


def test_a_key_that_digests_and_attributes_would_cut_leaves_no_piece(store: ClickHouse) -> None:
    """Each place of a cut is tried: the text before the key grows by one character a trace."""
    key = SECRETS["token"][0][1]
    settings = config({"redact": "on"})
    settings = settings.model_copy(
        update={
            "assembly": settings.assembly.model_copy(update={"digest_tokens": 100, "max_text_chars": 300})
        }
    )
    made = rows(settings, [f"{'so ' * (40 + n // 3)}{'x' * (n % 3)} {key} ok?" for n in range(60)])
    redact = build_redactor(settings.privacy)
    left = [
        piece for row in made for piece in pieces(key) if any(piece in text for text in texts_of(redact(row)))
    ]
    assert left == []
    assert any("…" in text for row in made for text in row.digest_texts)


def texts_of(row: TraceRow) -> list[str]:
    return [*row.digest_texts, row.input, row.output, *row.attributes.values()]


@pytest.mark.parametrize("hook", ["broken", "leaves", "returns_nothing"])
def test_a_hook_that_fails_ends_the_run_before_anything_leaves(store: ClickHouse, hook: str) -> None:
    settings = config({"redact": "on", "hook": f"redaction_hooks:{hook}"})
    made = rows(settings, ["the wish of Duras"])
    with OracleModel(lambda digest: ("Orders", "Late")) as model:
        with pytest.raises(RedactionFailed, match=f"redaction_hooks:{hook}") as failure:
            asyncio.run(make(store, settings, made, model.base_url))
        assert model.requests == []
    assert "wish" not in str(failure.value)
    assert asyncio.run(store.rows("runs", analysis="topics", limit=9)) == []


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("no_such_module:redact", "ModuleNotFoundError"),
        ("redaction_hooks:no_such_function", "AttributeError"),
        ("redaction_hooks:not_a_function", "is not a function"),
    ],
)
def test_a_hook_that_is_not_there_is_told_before_a_run(path: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_hook(path)
    with pytest.raises(ConfigError, match=says):
        describe_redaction(Config(privacy={"redact": "on", "hook": path}), "local")


@pytest.mark.parametrize(
    ("redact", "engine", "told"),
    [
        ("auto", "local", "off, since the engine is on this machine"),
        ("auto", "openai", f"on: {', '.join(KINDS)}"),
        ("on", "local", f"on: {', '.join(KINDS)}"),
        (True, "local", f"on: {', '.join(KINDS)}"),
        ("off", "openai", "off, as privacy.redact says"),
        ("off", "local", "off, as privacy.redact says"),
        (["email", "key"], "local", "on: email, key"),
        ("email, key", "local", "on: email, key"),
        ([], "local", "on: no built-in kinds"),
    ],
)
def test_what_is_redacted_when(redact: Any, engine: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert describe_redaction(Config(privacy={"redact": redact}), engine).startswith(told)


def test_own_patterns_and_hook_are_told() -> None:
    privacy = {
        "redact": ["ip"],
        "patterns": [{"name": "badge", "regex": "E-1"}],
        "hook": "redaction_hooks:broken",
    }
    told = describe_redaction(Config(privacy=privacy), "local")
    assert told == "on: ip; own patterns badge; hook redaction_hooks:broken"


def test_limits_of_values_cut_no_secret() -> None:
    key = SECRETS["token"][0][1]
    redactor = Redactor()
    for most in range(20, 130):
        for text in (f"note: {key} and more", f"card 4242 4242 4242 4242 and {key}", key * 3):
            cut = limited(text, most)
            assert len(cut) <= most
            safe = redactor.text(cut)
            assert not any(piece in safe for piece in pieces(key) | pieces("4242 4242 4242"))
    assert limited("short", 5) == "short"


# ------------------------------------------------------------------------------------------------- few people


def labelled(
    trace_id: str, category: str, sub: str = "", *, abstained: bool = False, **changes: Any
) -> tuple[Labelled, str]:
    attributes = changes.pop("said", {})
    row = trace_row(trace_id, **changes)
    verdict = Assignment(trace_id, category, sub, 0.9, attributes=attributes, abstained=abstained)
    return Labelled(SampledTrace(row, "", 1.0), verdict), person_of(row)


def category(identity: str, traces: list[str], subs: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "category_id": identity,
        "examples": [{"trace_id": trace, "input": f"words of {trace}"} for trace in traces],
        "attributes": {"wish": {"common": 0.5, "mine": 0.5}, "angry": {"true": 1.0}},
        **({"subcategories": subs} if subs is not None else {}),
    }


def test_a_category_of_too_few_people_shows_nothing_of_them() -> None:
    many = [
        labelled(f"m{i}", "many", "many__rare" if i == 0 else "many__usual", user_id=f"u{i}", said=said)
        for i in range(4)
        for said in [{"wish": "common" if i else "mine", "angry": "true"}]
    ]
    few = [labelled(f"f{i}", "few", user_id="u1") for i in range(9)]
    document = {
        "categories": [
            category(
                "many", ["m0", "m1", "m2"], [category("many__usual", ["m1"]), category("many__rare", ["m0"])]
            ),
            category("few", ["f0", "f1"], []),
        ],
        "key_points": ["The slowest is f3.", "Half of them fail."],
        "findings": [{"trace_id": "f2"}, {"trace_id": "m2"}],
    }
    pairs = many + few
    people = {label.trace.row.trace_id: person for label, person in pairs}
    withhold(document, [label for label, _ in pairs], people, 3, ["wish"])
    first, second = document["categories"]
    assert [e["trace_id"] for e in first["examples"]] == ["m1", "m2"]
    assert "withheld" not in first
    assert "withheld" not in first["subcategories"][0]
    assert first["subcategories"][1]["examples"] == second["examples"] == []
    assert "1 user or session, and privacy.min_users asks for 3" in second["withheld"]
    assert "1 user or session" in first["subcategories"][1]["withheld"]
    assert first["attributes"] == {"wish": {"common": 0.5}, "angry": {"true": 1.0}}
    assert document["key_points"] == ["Half of them fail."]
    assert document["findings"] == [{"trace_id": "m2"}]


def test_who_is_counted() -> None:
    assert person_of(trace_row(user_id="u", session_id="s")) == person_of(trace_row(user_id="u"))
    assert person_of(trace_row(session_id="s")) != person_of(trace_row(user_id="s"))
    # Traces of nobody known are one person's: none of them can make up a crowd.
    pairs = [labelled(f"t{i}", "c", service_name=f"s{i}") for i in range(9)]
    pairs.append(labelled("gone", "c", user_id="u", abstained=True))
    document = {"categories": [category("c", ["t1"], [])]}
    withhold(document, [label for label, _ in pairs], {label.trace.row.trace_id: p for label, p in pairs}, 2)
    assert document["categories"][0]["examples"] == []
    assert (
        "name neither user nor session, and privacy.min_users asks for 2"
        in document["categories"][0]["withheld"]
    )
    assert document["key_points"] == [NOBODY_IS_NAMED]


def test_check_says_whether_traffic_names_anybody(store: ClickHouse) -> None:
    assert (_people(store, 5).ok, _people(store, 5).detail) == (
        True,
        "5; 0 of 0 traces of the last week name a user or a session",
    )
    now = time.time_ns()
    old = trace_row("old", start_ns=now - 30 * 86_400 * 10**9, user_id="u", is_agent=True)
    asyncio.run(store.insert("traces", [old, trace_row("new", start_ns=now - 10**9, is_agent=True)]))
    nobody = _people(store, 5)
    assert (nobody.ok, "0 of 1 traces" in nobody.detail, "session.id" in nobody.advice) == (False, True, True)
    asyncio.run(store.insert("traces", [trace_row("named", start_ns=now, session_id="s", is_agent=True)]))
    assert (_people(store, 5).ok, "1 of 2 traces" in _people(store, 5).detail) == (True, True)


def test_min_users_in_a_whole_run(store: ClickHouse) -> None:
    """Users are told apart before redaction makes their ids alike; the saved document has no example left."""
    privacy = {"redact": "on", "min_users": 3}
    settings = config(privacy)
    made = rows(settings, ["a lost parcel"] * 4)
    people = ["ann@mail.io", "bob@mail.io", "bob@mail.io", "cat@mail.io"]
    enough = [replace(row, user_id=user) for row, user in zip(made, people, strict=True)]
    run, outcome, _ = analyse(store, settings, enough)
    assert run.traces_labelled == 4
    assert "withheld" not in outcome
    assert '"evidence"' in outcome

    few = [replace(row, user_id=people[1], revision=2, last_seen_ns=START_NS + 1) for row in made]
    run, outcome, _ = analyse(store, config(privacy, instructions="Another question"), few)
    assert run.traces_labelled == 4
    assert "Examples are withheld: they are of 1 user or session" in outcome
    (report,) = asyncio.run(store.records("reading/report_by_run", ReportRow, run_id=run.run_id))
    assert "Where is order" not in report.document
    assert "00000001" not in report.document


def test_own_patterns_have_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="two patterns have the same name"):
        config({"patterns": [{"name": "order", "regex": "a"}, {"name": "order", "regex": "b"}]})
