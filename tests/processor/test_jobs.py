"""From what a caller asks to what is run."""

from __future__ import annotations

import time

import pytest

from tracetaxa.config import Config, LlmConfig, PrivacyConfig
from tracetaxa.errors import ConfigError
from tracetaxa.jobs import RunRequest, choose_engine, must_redact, parse_time

HOUR = 3600 * 10**9
T = parse_time("2026-11-22T10:00:00Z")


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-02T00:00:00.5Z", 86400.5),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds * 10**9


@pytest.mark.parametrize(
    ("given", "window"),
    [
        ({"window_start_ns": T, "window_end_ns": T + HOUR}, (T, T + HOUR)),
        ({"window_end_ns": T, "window": "2h"}, (T - 2 * HOUR, T)),
        ({"window_start_ns": T, "window": "2h"}, (T, T + 2 * HOUR)),
        ({"window_end_ns": T}, (T - 24 * HOUR, T)),
    ],
)
def test_windows(given: dict[str, int], window: tuple[int, int]) -> None:
    assert RunRequest("topics", **given).window_ns("24h") == window


def test_a_window_ends_now_by_default() -> None:
    start, end = RunRequest("topics").window_ns("1h")
    assert end - start == HOUR
    assert abs(end - time.time_ns()) < 60 * 10**9
    assert RunRequest("topics", window_start_ns=T).window_ns("1h")[0] == T


@pytest.mark.parametrize(
    "given",
    [
        {"window_start_ns": T, "window_end_ns": T},
        {"window_start_ns": T + 1, "window_end_ns": T},
        {"window_start_ns": T, "window_end_ns": T + HOUR, "window": "1h"},
        {"window": "10000000d"},
        {"window": "soon"},
        {"window_start_ns": parse_time("1600-01-01"), "window_end_ns": T},
        {"window_start_ns": T, "window_end_ns": parse_time("2500-01-01")},
    ],
)
def test_windows_that_make_no_sense(given: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        RunRequest("topics", **given).window_ns("24h")


def test_auto_takes_the_model_when_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_engine(Config()) == "local"
    assert choose_engine(Config(llm=LlmConfig(base_url="http://localhost:1/v1"))) == "openai"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    assert choose_engine(Config()) == "openai"
    assert choose_engine(Config(), "local") == "local"


@pytest.mark.parametrize(
    ("base_url", "redact", "engine", "expected"),
    [
        (None, "auto", "openai", True),
        ("http://localhost:11434/v1", "auto", "openai", False),
        ("http://127.0.0.1:1/v1", "auto", "openai", False),
        ("http://[::1]:1/v1", "auto", "openai", False),
        ("http://localhost.evil.example/v1", "auto", "openai", True),
        ("https://api.example/v1", "off", "openai", False),
        (None, "auto", "local", False),
        (None, "on", "local", True),
    ],
)
def test_when_text_is_redacted(base_url: str | None, redact: str, engine: str, expected: bool) -> None:
    config = Config(llm=LlmConfig(base_url=base_url), privacy=PrivacyConfig(redact=redact))
    assert must_redact(config, engine) is expected
