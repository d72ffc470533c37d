"""What is shipped: version, lock file, files beside the code."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import tracetaxa

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=\[; ]", requirement)[0].lower() for requirement in requirements}


def test_one_version() -> None:
    assert metadata.version("tracetaxa") == tracetaxa.__version__


def test_every_dependency_is_bounded_pinned_and_explained() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    direct = [*PROJECT["project"]["dependencies"], *(r for extra in extras.values() for r in extra)]
    assert all("<" in r or "==" in r for r in direct)
    locked = names((ROOT / "requirements.lock").read_text("utf-8").splitlines())
    assert names(direct) <= locked
    explained = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    assert [name for name in sorted(names(direct)) if name not in explained] == []


def test_the_lock_file_names_no_index() -> None:
    assert "://" not in (ROOT / "requirements.lock").read_text("utf-8")


def test_the_command_line_starts_without_heavy_imports() -> None:
    code = "import sys, tracetaxa.cli; print(*{m.split('.')[0] for m in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "sklearn", "openai", "grpc", "clickhouse_connect", "chdb", "pydantic"} & set(loaded)


def test_commands_that_ask_start_without_what_serves_and_what_models_need() -> None:
    modules = (
        "tracetaxa.access, tracetaxa.jobs, tracetaxa.remote, tracetaxa.report.text, tracetaxa.store.guard"
    )
    code = f"import sys, {modules}; print(*{{m.split('.')[0] for m in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"openai", "grpc", "starlette", "uvicorn", "numpy", "sklearn", "chdb"} & set(loaded)


def test_the_wheel_holds_everything(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    for package in ("processor/tracetaxa", "exporter/tracetaxa_exporter"):
        base = (ROOT / package).parent
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert str(path.relative_to(base)) in packed
    assert not any(name.startswith(("tests", "bench")) for name in packed)
