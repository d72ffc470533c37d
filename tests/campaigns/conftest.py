"""Campaigns: long, hostile runs of the whole product. `make test-slow` runs them and prints their figures.

Their sizes and seed can be set in the environment (see each file); the figures say which seed a run had.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from product import Product

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _pytest.terminal import TerminalReporter

pytest.register_assert_rewrite("campaigns.checks", "campaigns.served", "senders")

FIGURE = "figure: "


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No campaign reaches a model, or another database, by accident."""
    for name in [n for n in os.environ if n.startswith(("OPENAI_", "TRACETAXA_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def product(tmp_path: Path) -> Product:
    return Product(tmp_path)


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str, object], None]:
    """Keeps a named number or text to be printed after the run."""
    return lambda name, value: record_property(FIGURE + name, value)


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            figures = [(name, value) for name, value in report.user_properties if name.startswith(FIGURE)]
            if figures and report.when == "call":
                terminalreporter.section(f"{report.nodeid} ({report.duration:.0f} s)", sep="-")
                for name, value in figures:
                    terminalreporter.write_line(f"{name.removeprefix(FIGURE)}: {value}")
