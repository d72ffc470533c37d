"""Configuration: what is accepted, what is refused, and how the refusal reads."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tracetaxa.config import Config, duration_seconds, load, split_endpoint
from tracetaxa.config.loading import model_in
from tracetaxa.config.wording import plainly
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


@pytest.mark.parametrize(
    ("written", "meant"), [("on", "on"), ("off", "off"), ("auto", "auto"), ("'on'", "on"), ("true", "on")]
)
def test_on_and_off_are_what_yaml_makes_of_them(tmp_path: Path, written: str, meant: str) -> None:
    assert load(write(tmp_path, f"label: {{write_back: {written}}}\n")).label.write_back == meant


def test_the_sidecar_profile_moves_ports_but_not_those_that_are_set(tmp_path: Path) -> None:
    config = load(write(tmp_path, "profile: sidecar\napi: {endpoint: '127.0.0.1:80'}\n"))
    assert config.receiver.grpc.endpoint == "127.0.0.1:4327"
    assert config.sql.endpoint == "127.0.0.1:8133"
    assert config.metrics.endpoint == "127.0.0.1:8898"
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
        ("analyses: [{sample: {seed: -1}}]", "at least 0, not -1"),
        ("analyses: [{unit: session, label_all: true}]", r"analyses\.0\.label_all: .*is for `unit: trace`"),
        ("analyses: [{unit: conversation}]", r"analyses\.0\.unit: .*'trace' or 'session'"),
        ("assembly: {session_idle_seconds: 0}", r"assembly\.session_idle_seconds: .*more than 0, not 0"),
        ("assembly: {max_session_traces: 0}", r"assembly\.max_session_traces: .*at least 1, not 0"),
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
        ("privacy: {min_users: 0}", r"privacy\.min_users: .*at least 1, not 0"),
        (
            "analyses:\n  - filter:\n      status: Eror",
            r":3: analyses\.0\.filter\.status.*did you mean 'Error'",
        ),
        ("analyses: [{filter: {min_seconds: 2, max_seconds: 1}}]", "no trace would be left"),
        ("analyses: [{filter: {tool: ['']}}]", r"analyses\.0\.filter\.tool\.0: .*must not be empty"),
        ("analyses: [{attributes: [{name: x, type: boolean, keep: maybe}]}]", "no value of it: true, false"),
        ("analyses: [{attributes: [{name: x, type: enum, values: [a], keep: b}]}]", "no value of it: a"),
        ("analyses: [{attributes: [{name: x, type: number, keep: [1]}]}]", r"attributes\.0\.keep"),
    ],
)
def test_mistakes_say_where_and_what(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("store: {retention_days: 30000}", "store.retention_days: must be at most 25,000, not 30000"),
        (
            "sql: {max_memory_mib: 99999999999}",
            "sql.max_memory_mib: must be at most 1,048,576, not 99999999999",
        ),
        ("analyses: [{window: 99999999d}]", "analyses.0.window: '99999999d' is longer than a hundred years"),
        ("llm: {base_url: not a url}", "'not a url' is not a URL such as https://models.example/v1"),
        ("llm: {base_url: 'http://:80/v1'}", "is not a URL"),
        ("llm: {base_url: 'http://host:99999/v1'}", "is not a URL"),
        ("llm: {max_concurrency: many}", "must be a whole number, not 'many'"),
        ("receiver: {linger_ms: 1.5}", "must be a whole number, not 1.5"),
        ("sql: {enabled: perhaps}", "must be true or false, not 'perhaps'"),
        ("assembly: 5", "assembly: must be a section with keys of its own, not 5"),
        ("privacy: {patterns: 3}", "must be a list, not 3"),
        ("privacy: {hook: redact}", "must name a function, as module:function, not 'redact'"),
        ("analyses: [{name: Top-Ics}]", "must begin with a letter and be of a-z, 0-9 and _, not 'Top-Ics'"),
        ("analyses: [{filter: {service: {a: 1}}}]", "must be a list, not a section with keys"),
        ("analyses: [{filter: {status: xyzzy}}]", "unknown status 'xyzzy'; known are Error, Ok, Unset"),
        ("analyses: [{filter: {feedback_below: low}}]", "must be a number, not 'low'"),
        ("analyses: [{sample: {favour: 2}}]", "must be less than 1, not 2"),
        ("analyses: [{instructions: }]", "instructions: must be text, not empty"),
        ("privacy: {patterns: [{name: a}]}", "privacy.patterns.0.regex: is needed"),
        ("store: {cluster: a b}", "must be a name of letters"),
    ],
)
def test_mistakes_are_told_in_plain_words(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(write(tmp_path, text))
    assert message in str(refused.value)
    assert "nput should" not in str(refused.value)


def test_no_mistake_shows_what_may_be_secret_or_long(tmp_path: Path) -> None:
    text = f"exporter: {{otlp: {{headers: {{authorization: [s3cret]}}}}}}\nllm: {{max_attempts: {'x' * 500}}}"
    with pytest.raises(ConfigError) as refused:
        load(write(tmp_path, text))
    assert "s3cret" not in str(refused.value)
    assert "x" * 70 not in str(refused.value)


_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
_YAML = _PLAIN | st.lists(_PLAIN, max_size=2) | st.dictionaries(st.text(max_size=3), _PLAIN, max_size=2)


@given(_YAML)
@settings(max_examples=60, deadline=None)
def test_no_value_has_the_words_of_a_library(value: object) -> None:
    for section, field in Config.model_fields.items():
        if (model := model_in(field.annotation)) is not None:
            for key in model.model_fields:
                try:
                    model.model_validate({key: value})
                except ValidationError as error:
                    for problem in error.errors():
                        if problem["type"] not in ("extra_forbidden", "value_error"):
                            assert plainly(problem) != problem["msg"], (section, key)


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


@pytest.mark.parametrize(
    ("otlp", "told"),
    [
        ({"endpoint": "http://127.0.0.1:99999"}, "names no port from 1 to 65535"),
        ({"endpoint": "http://127.0.0.1:0"}, "names no port from 1 to 65535"),
        ({"endpoint": "http://127.0.0.1"}, "names no port from 1 to 65535"),
        ({"endpoint": "127.0.0.1:4317"}, "is not an address"),
        ({"endpoint": "http://127.0.0.1:4317/v1/traces"}, "gRPC has no paths"),
        ({"endpoint": "http://ada:s3cret@127.0.0.1:4317"}, "credentials belong into `headers`"),
    ],
)
def test_a_destination_that_can_not_be(tmp_path: Path, otlp: dict[str, str], told: str) -> None:
    path = tmp_path / "tracetaxa.yaml"
    path.write_text(json.dumps({"exporter": {"otlp": otlp}}), "utf-8")
    with pytest.raises(ConfigError, match=re.escape(told)) as caught:
        load(path)
    assert "s3cret" not in str(caught.value)
    assert "exporter.otlp.endpoint" in str(caught.value)
