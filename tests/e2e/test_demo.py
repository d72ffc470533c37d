"""The whole demo, as `tracetaxa demo` runs it: a real service, real spans, a real report."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bench.loaders import available

from tracetaxa.demo.child import child_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
KINDS_AMI = 0.75
PEAK_MB = 1500


def agreement(output: str) -> tuple[float, float]:
    """Adjusted mutual information of kinds and of sub-behaviours, as printed."""
    match = re.search(r"adjusted mutual information  kinds (\d\.\d\d)  sub-behaviours (\d\.\d\d)", output)
    assert match
    return float(match[1]), float(match[2])


def environment() -> dict[str, str]:
    """No model, whatever the developer has set."""
    ours = child_environment() | {"COLUMNS": "80"}
    return {name: value for name, value in ours.items() if not name.startswith("OPENAI_")}


def demo(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.demo", "--directory", str(directory), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )


def process_is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_what_is_sent_is_stored_labelled_and_reported(tmp_path: Path) -> None:
    with demo(tmp_path / "demo", "--traces", "80", "--seed", "4") as process:
        output, log = process.communicate()
    assert process.returncode == 0, log
    assert "DIFFERENT" not in output
    assert re.findall(r"(\d[\d,]*) +(\d[\d,]*) +same$", output, re.M)[-1] == ("84", "84")
    assert agreement(output)[0] > 0.3
    page = tmp_path / "demo" / "report.html"
    assert str(page) in output
    assert "<html" in page.read_text("utf-8")
    assert max(len(line) for line in output.splitlines() if str(tmp_path) not in line) <= 80
    assert "OPENAI_API_KEY" in output


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ctrl-c", "interrupt", "terminate"])
def test_an_interrupt_stops_the_service_too(tmp_path: Path, how: str) -> None:
    with demo(tmp_path / "demo", "--traces", "5000") as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "the service is ready at" in line)
        owner = (tmp_path / "demo" / "data" / "tracetaxa-owner.json").read_text("utf-8")
        service = int(re.search(r'"pid": (\d+)', owner)[1])  # type: ignore[index]
        assert process_is_alive(service), line
        if how == "ctrl-c":  # A terminal tells the whole group: the service hears it as well.
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT if how == "interrupt" else signal.SIGTERM)
        output, log = process.communicate()
    assert process.returncode == 130, log
    assert "interrupted; the service has stopped" in log
    assert not process_is_alive(service)
    assert output == ""


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("--seed", "1"), ("--data", str(DATA))], ids=["0", "1", "real"])
def test_the_whole_demo_finds_what_is_there(tmp_path: Path, arguments: Sequence[str]) -> None:
    """What `make demo` shows: kinds found, every span accounted for, memory bounded."""
    if "--data" in arguments and not available(DATA):
        pytest.skip("the real runs are not beside this checkout")
    with demo(tmp_path / "demo", *arguments) as process:
        output, log = process.communicate()
    assert process.returncode == 0, log
    assert "DIFFERENT" not in output
    assert agreement(output)[0] >= KINDS_AMI
    peak = re.search(r"peak memory ([\d,]+) MB", output)
    assert peak
    assert int(peak[1].replace(",", "")) < PEAK_MB
