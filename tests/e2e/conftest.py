"""Whole processes, nothing inside them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from product import Product

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches a provider by accident."""
    for name in [n for n in os.environ if n.startswith(("OPENAI_", "TRACETAXA_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def product(tmp_path: Path) -> Product:
    return Product(tmp_path).configure()
