"""Wrong usage and wrong configuration, through the entry point: exit code 2 and one message, and no database."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tracetaxa.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Run = tuple[int, str, str]
"""Exit code, standard output, standard error."""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs and has its configuration, without any in the environment."""
    for name in [n for n in os.environ if n.startswith(("OPENAI_", "TRACETAXA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Run]:
    def run(*arguments: str, **sections: Any) -> Run:
        (directory / "tracetaxa.yaml").write_text(json.dumps(sections), "utf-8")
        monkeypatch.setattr(sys, "argv", ["tracetaxa", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["analyze"], "Missing argument 'NAME'"),
        (["analyze", "Bad Name"], "Bad Name"),
        (["analyze", "x", "--window", "24x"], "'24x' is not a duration"),
        (["analyze", "x", "--from", "yesterday"], "'yesterday' is not a time such as"),
        (["analyze", "x", "--from", "2026-01-02", "--to", "2026-01-01"], "the window is empty"),
        (["report", "--format", "pdf"], "'pdf' is not one of"),
        (["import"], "Missing argument 'FILES...'"),
        (["import", "nowhere.jsonl"], "'nowhere.jsonl' does not exist"),
        (["import", "-", "--type", "pdf"], "'pdf' is not one of"),
        (["import", "-", "--column", "role"], "write FIELD=NAME"),
        (["import", "-", "--column", "rol=x"], "'rol' is none of"),
        (["import", "-", "--at", "yesterday"], "'yesterday' is not a time such as"),
        (["import", "-", "--feedback", "--column", "content=x"], "'content' is none of"),
        (["backfill", "--from", "yesterday"], "is not a time such as"),
        (["backfill", "--window", "soon"], "is not a duration"),
        (
            ["backfill", "--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z"],
            "the window is empty",
        ),
    ],
)
def test_wrong_usage(run: Callable[..., Run], directory: Path, arguments: list[str], told: str) -> None:
    code, output, problem = run(*arguments)
    assert (code, output) == (2, "")
    assert told in problem
    assert [path.name for path in directory.iterdir()] == ["tracetaxa.yaml"]


@pytest.mark.parametrize("command", [["serve"], ["report"], ["analyze", "topics"], ["check"], ["migrate"]])
def test_a_wrong_key_in_the_configuration(run: Callable[..., Run], command: list[str]) -> None:
    code, output, problem = run(*command, recever={})
    assert (code, output) == (2, "")
    assert "did you mean 'receiver'?" in problem


@pytest.mark.parametrize("command", [["migrate"], ["report"]])
def test_a_cluster_needs_servers(run: Callable[..., Run], directory: Path, command: list[str]) -> None:
    (directory / "data").mkdir()
    code, output, problem = run(*command, store={"dsn": f"chdb://{directory / 'data'}", "cluster": "agents"})
    assert (code, output) == (2, "")
    assert "store.cluster needs ClickHouse servers" in problem
