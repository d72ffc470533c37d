"""What every section of the configuration is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import (
    BaseModel,
    ConfigDict,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class Misplaced(ValueError):
    """A mistake that is seen from above: `at` is where it is, from the section that sees it."""

    def __init__(self, message: str, *at: str | int) -> None:
        super().__init__(message)
        self.at = at


def second_of_two(names: Sequence[str]) -> int | None:
    """Where the first name stands that stood before."""
    return next((index for index, name in enumerate(names) if name in names[:index]), None)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
