"""Whole processes, nothing inside them. Starting a service costs a second, so most tests of a module share one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from product import Product

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def no_model() -> Iterator[None]:
    """No test reaches a provider by accident."""
    with pytest.MonkeyPatch.context() as environment:
        for name in [n for n in os.environ if n.startswith(("OPENAI_", "TRACETAXA_"))]:
            environment.delenv(name)
        yield


@pytest.fixture
def product(tmp_path: Path) -> Product:
    return Product(tmp_path).configure()
