"""Configuration: what is accepted, what is refused, and how the refusal reads."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracetaxa.config import Config, duration_seconds, load, split_endpoint
from tracetaxa.errors import ConfigError

ROOT = Path(__file__).parents[2]


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "tracetaxa.yaml"
    path.write_text(text, "utf-8")
    return path


def test_built_in_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load()
    assert config.store.dsn == "chdb://./tracetaxa-data"
    assert config.receiver.grpc.endpoint == "127.0.0.1:4317"
    assert config.analysis("anything").instructions == "What are users asking the agent to do?"
    assert config.analysis("anything").unit == "trace"


def test_a_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "receiver: {grpc: {endpoint: 'localhost:1'}, linger_ms: 7}\n")
    monkeypatch.setenv("TRACETAXA_RECEIVER__GRPC__ENDPOINT", "127.0.0.1:0")
    config = load(path)
    assert (config.receiver.grpc.endpoint, config.receiver.linger_ms) == ("127.0.0.1:0", 7)


def test_the_sidecar_profile_moves_ports_but_not_those_that_are_set(tmp_path: Path) -> None:
    config = load(write(tmp_path, "profile: sidecar\napi: {endpoint: '127.0.0.1:80'}\n"))
    assert config.receiver.grpc.endpoint == "127.0.0.1:4327"
    assert config.sql.endpoint == "127.0.0.1:8133"
    assert config.api.endpoint == "127.0.0.1:80"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("receiver: {grpc: {endpont: 'x:1'}}", r":1: receiver\.grpc\.endpont: .*did you mean 'endpoint'"),
        ("stores: {}", r":1: stores: unknown key 'stores'; did you mean 'store'"),
        ("analyses:\n  - name: a\n    sampel: {}", r":3: analyses\.0\.sampel: .*did you mean 'sample'"),
        ("analyses:\n  - window: 24x", r":2: analyses\.0\.window: '24x' is not a duration"),
        ("analyses: [{name: A-b}]", r"analyses\.0\.name"),
        ("analyses: [{name: a}, {name: a}]", "two analyses are called 'a'"),
        ("analyses: [{attributes: [{name: x, type: enum}]}]", "an enum needs them"),
        ("analyses: [{attributes: [{name: x, type: string}, {name: x, type: number}]}]", "the same name"),
        ("analyses: [{sample: {seed: -1}}]", "greater than or equal to 0"),
        ("analyses: [{unit: conversation}]", r"analyses\.0\.unit: .*'trace' or 'session'"),
        ("assembly: {session_idle_seconds: 0}", r"assembly\.session_idle_seconds: .*greater than 0"),
        ("assembly: {max_session_traces: 0}", r"assembly\.max_session_traces: .*greater than or equal to 1"),
        ("api: {endpoint: '8080'}", "not host:port"),
        ("store: [", "not valid YAML"),
        ("just text", "must hold sections"),
        ("llm: {engine: gpt}", r"llm\.engine"),
        ("privacy: {redact: maybe}", r":1: privacy\.redact: auto, on, off, .*unknown kind 'maybe'"),
        ("privacy:\n  redact: [email, phon]", r":2: privacy\.redact: .*did you mean 'phone'"),
        (
            "privacy:\n  patterns:\n    - {name: a, regex: '(?=x)y'}",
            r":3: privacy\.patterns\.0: .*look-around",
        ),
        ("privacy: {patterns: [{name: a, regex: 'x*'}]}", r"privacy\.patterns\.0: .*empty text"),
        ("privacy: {patterns: [{name: A-b, regex: x}]}", r"privacy\.patterns\.0\.name"),
        ("privacy:\n  hook: acme.redact", r":2: privacy\.hook"),
        ("privacy: {min_users: 0}", r"privacy\.min_users: .*greater than or equal to 1"),
        (
            "analyses:\n  - filter:\n      status: Eror",
            r":3: analyses\.0\.filter\.status.*did you mean 'Error'",
        ),
        ("analyses: [{filter: {min_seconds: 2, max_seconds: 1}}]", "no trace would be left"),
        ("analyses: [{filter: {tool: ['']}}]", r"analyses\.0\.filter\.tool\.0: .*at least 1 character"),
        ("analyses: [{attributes: [{name: x, type: boolean, keep: maybe}]}]", "no value of it: true, false"),
        ("analyses: [{attributes: [{name: x, type: enum, values: [a], keep: b}]}]", "no value of it: a"),
        ("analyses: [{attributes: [{name: x, type: number, keep: [1]}]}]", r"attributes\.0\.keep"),
    ],
)
def test_mistakes_say_where_and_what(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(write(tmp_path, text))


def test_a_filter_takes_one_value_or_several(tmp_path: Path) -> None:
    text = "analyses: [{filter: {service: shop, status: [Ok, Error], attributes: {tier: gold, release: [a, b]}}}]"
    found = load(write(tmp_path, text)).analyses[0].filter
    assert (found.service, found.status, found.tool) == (("shop",), ("Ok", "Error"), ())
    assert found.attributes == {"tier": ("gold",), "release": ("a", "b")}


def test_what_an_attribute_keeps(tmp_path: Path) -> None:
    text = "analyses: [{attributes: [{name: x, type: boolean, keep: true}, {name: y, type: string, keep: [a, b]}]}]"
    brief = load(write(tmp_path, text)).analyses[0].brief()
    assert [a.keep for a in brief.attributes] == [("true",), ("a", "b")]


def test_an_unknown_section_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACETAXA_RECEVER__LINGER_MS", "1")
    with pytest.raises(ConfigError, match="did you mean 'receiver'"):
        load(write(tmp_path, ""))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't read"):
        load(tmp_path / "none.yaml")


def test_names_of_analyses(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't name an analysis"):
        Config().analysis("Bad Name")


def test_predefined_categories_get_ids(tmp_path: Path) -> None:
    text = "analyses: [{taxonomy: {predefined: [{name: 'Order tracking'}, {name: '2nd level', id: second}]}}]"
    predefined = load(write(tmp_path, text)).analysis("topics").brief().predefined
    assert [c.category_id for c in predefined] == ["order_tracking", "second"]


def test_predefined_categories_do_not_collide(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the id 'other'"):
        load(write(tmp_path, "analyses: [{taxonomy: {predefined: [{name: Other}]}}]"))


def test_a_bare_on_is_on(tmp_path: Path) -> None:
    assert load(write(tmp_path, "privacy: {redact: on}")).privacy.redact == "on"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("24h", 86400), ("7d", 604800), (" 2w ", 1209600)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration_seconds(text) == seconds


@given(st.text())
def test_parsers_accept_or_refuse(text: str) -> None:
    for parse in (duration_seconds, split_endpoint):
        try:
            parse(text)
        except ValueError:
            continue


def test_the_reference_page_is_made_from_the_code() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert (ROOT / "docs" / "configuration.md").read_text("utf-8") == generate.configuration()
