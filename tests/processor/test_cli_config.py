"""Commands that a command advises read the configuration that it was given itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from tracetaxa.cli.commands import cli
from tracetaxa.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "my config.yaml"
    any_port = {"endpoint": "127.0.0.1:0"}
    receiver = {"grpc": any_port, "http": any_port}
    sections = dict.fromkeys(("api", "sql", "health", "metrics"), any_port)
    store = {"dsn": f"chdb://{tmp_path / 'data'}"}
    path.write_text(json.dumps({"store": store, "receiver": receiver, **sections}))
    return path


def test_in_findings(config: Path) -> None:
    done = CliRunner().invoke(cli, ["check", "--config", str(config)])
    assert f"`tracetaxa serve --config '{config}'` makes it" in done.output


def test_in_errors(config: Path) -> None:
    done = CliRunner().invoke(cli, ["report", "--config", str(config)])
    assert isinstance(done.exception, NotFound)
    assert str(done.exception).endswith(f"`tracetaxa serve --config '{config}'` makes it")


def test_not_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["report"])
    assert str(done.exception).endswith("`tracetaxa serve` makes it")
