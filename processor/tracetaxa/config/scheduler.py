"""When analyses run by themselves."""

from __future__ import annotations

from typing import Self

from pydantic import (
    Field,
    model_validator,
)

from tracetaxa.config.section import Section
from tracetaxa.config.values import LARGEST, MOST, Positive


class SchedulerConfig(Section):
    enabled: bool = True
    """Off: this process runs nothing by itself; another one does, or a job of Kubernetes."""
    settle_seconds: float | None = Field(default=None, ge=0, le=LARGEST)
    """A scheduled run starts this long after its window's end, so that the traces in it have closed. Unset:
    `assembly.idle_seconds` and `assembly.orphan_idle_seconds`, for sessions `assembly.session_idle_seconds`
    more."""
    max_settle_seconds: float = Field(default=3600, ge=0, le=LARGEST)
    """Up to this long after its window's end it waits for traces that were open then."""
    max_catch_up: int = Field(default=3, ge=1, le=MOST)
    """Of scheduled times that were missed, the newest so many are made up for, oldest first."""
    jitter_seconds: float = Field(default=20, ge=0, le=LARGEST)
    """A scheduled run starts up to this much later, by a fixed amount for each host, analysis and time: not
    everything starts at once."""
    max_attempts: int = Field(default=3, ge=1, le=MOST)
    """A scheduled run that failed is made again, up to so many times in all."""
    retry_seconds: Positive = 300
    """How long after a failure; twice as long after each further one."""
    tick_seconds: Positive = 5
    """How often it is looked what is due."""
    lease_seconds: float = Field(default=60, ge=1, le=LARGEST)
    """On a ClickHouse server: a process at work on an analysis that is not heard of for this long counts as
    gone, and another goes on with its run. It reports four times as often."""
    claim_seconds: float = Field(default=1, gt=0, le=LARGEST)
    """On a ClickHouse server: how long a claim to the next run is open to those of others; longer than rows
    take from one process to the other."""

    @model_validator(mode="after")
    def _claims_live(self) -> Self:
        if self.claim_seconds * 2 > self.lease_seconds:
            raise ValueError("`lease_seconds` must be at least twice `claim_seconds`")
        return self
