"""What the receiver's configuration means, and what it warns of."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import pytest

from tracetaxa.check import check_all
from tracetaxa.config import Config, load
from tracetaxa.errors import ConfigError
from tracetaxa.service import make_tls, read_credential, warn_of_exposure

if TYPE_CHECKING:
    from pathlib import Path


def loaded(directory: Path, text: str) -> Config:
    path = directory / "tracetaxa.yaml"
    path.write_text(text, "utf-8")
    return load(path)


def test_both_transports_listen_on_localhost_and_move_beside_a_collector() -> None:
    receiver = Config().receiver
    assert (receiver.grpc.endpoint, receiver.http.endpoint) == ("127.0.0.1:4317", "127.0.0.1:4318")
    receiver = Config(profile="sidecar").receiver
    assert (receiver.grpc.endpoint, receiver.http.endpoint) == ("127.0.0.1:4327", "127.0.0.1:4328")


def test_tls_and_auth_from_a_file_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACETAXA_RECEIVER__GRPC__TLS__CERT_FILE", "/a.crt")
    monkeypatch.setenv("TRACETAXA_RECEIVER__GRPC__TLS__KEY_FILE", "/a.key")
    secret = tmp_path / "secret"
    secret.write_text("a-secret-of-22-letters", "utf-8")
    receiver = loaded(
        tmp_path,
        f"""
        receiver:
          http: {{tls: {{cert_file: b.crt, key_file: b.key, min_version: 1.3}}}}
          auth: {{header: {{name: X-Api-Key, value_file: {secret}}}}}
        """,
    ).receiver
    grpc, http = make_tls(receiver.grpc.tls, "grpc"), make_tls(receiver.http.tls, "http")
    assert grpc is not None
    assert http is not None
    assert (str(grpc.cert_file), grpc.min_version) == ("/a.crt", "1.2")
    assert (str(http.key_file), http.min_version) == ("b.key", "1.3")
    credential = read_credential(receiver.auth)
    assert credential is not None
    assert (credential.header, credential.bearer) == ("x-api-key", False)
    assert "letters" not in repr(receiver)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("receiver: {auth: {bearer_token_file: a, header: {name: x-key, value_file: b}}}", "not both"),
        ("receiver: {auth: {header: {name: grpc-key, value_file: b}}}", "not a header"),
        ("receiver: {auth: {header: {name: key-bin, value_file: b}}}", "not a header"),
        ("receiver: {auth: {header: {name: 'a b', value_file: b}}}", "not a header"),
        ("receiver: {grpc: {tls: {cert_file: a}}}", r"receiver\.grpc\.tls\.key_file"),
        ("receiver: {http: {tls: {cert_file: a, key_file: b, min_version: 1.1}}}", "1.2"),
        (
            "receiver: {grpc: {tls: {cert_file: a, key_file: b, min_version: 1.3}}}",
            "unknown key 'min_version'",
        ),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loaded(tmp_path, text)


@pytest.mark.parametrize(
    ("receiver", "warned"),
    [
        ({}, []),
        (
            {"grpc": {"endpoint": "0.0.0.0:4317"}},
            ["receiver.grpc.endpoint 0.0.0.0:4317 .* TLS and authentication"],
        ),
        (
            {"http": {"endpoint": "0.0.0.0:4318"}, "auth": {"bearer_token_file": "a"}},
            ["receiver.http.endpoint 0.0.0.0:4318 .* without TLS "],
        ),
        (
            {"http": {"endpoint": "[::]:4318", "tls": {"cert_file": "a", "key_file": "b"}}},
            ["receiver.http.endpoint .* without authentication "],
        ),
        (
            {
                "grpc": {
                    "endpoint": "0.0.0.0:4317",
                    "tls": {"cert_file": "a", "key_file": "b", "client_ca_file": "c"},
                }
            },
            [],
        ),
    ],
)
def test_who_lets_others_in_is_warned(
    receiver: dict[str, object], warned: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        warn_of_exposure(Config(receiver=receiver).receiver)
    assert len(caplog.messages) == len(warned)
    for message, pattern in zip(caplog.messages, warned, strict=True):
        assert re.search(pattern, message)


def test_check_reads_what_the_receiver_needs(tmp_path: Path) -> None:
    config = Config(
        store={"dsn": f"chdb://{tmp_path / 'none'}"},
        llm={"engine": "local"},
        receiver={
            "grpc": {"endpoint": "127.0.0.1:0", "tls": {"cert_file": tmp_path / "no.crt", "key_file": "k"}},
            "http": {"endpoint": "127.0.0.1:0"},
        },
    )
    findings = {finding.what: finding for finding in check_all(config)}
    assert not findings["receiver"].ok
    assert "no.crt" in findings["receiver"].detail
    assert findings["receiver.http.endpoint"].ok
    plain = config.model_copy(update={"receiver": Config(receiver={}).receiver})
    findings = {finding.what: finding for finding in check_all(plain)}
    assert findings["receiver"].detail == "grpc in plain text, http in plain text; anyone may send"
