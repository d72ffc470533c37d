"""Which models are asked, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
)

from tracetaxa.config.section import Section
from tracetaxa.config.values import LARGEST, MOST, MOST_DAYS, Effort, Positive, Url


class ModelPrice(Section):
    input: float = Field(ge=0, le=MOST)
    """US dollars per million input tokens."""
    output: float = Field(ge=0, le=MOST)
    """US dollars per million output tokens."""
    cached_input: float | None = Field(default=None, ge=0, le=MOST)
    """US dollars per million input tokens out of the provider's prompt cache; as `input` when unset."""


class LlmConfig(Section):
    engine: Literal["auto", "openai", "local"] = "auto"
    """`auto` is `openai` when OPENAI_API_KEY, OPENAI_BASE_URL or base_url is set, else `local`."""
    base_url: Url | None = None
    """An OpenAI-compatible endpoint; OPENAI_BASE_URL when unset. The key is OPENAI_API_KEY, never here."""
    taxonomy_model: str = "gpt-6.1-sol"
    """Model that finds the categories: a capable one."""
    taxonomy_effort: Effort = "low"
    """Its reasoning effort; more costs more output. Left out where a model has none."""
    assignment_model: str = "gpt-6-luna"
    """Model that assigns traces: a small one."""
    assignment_effort: Effort = "none"
    """Its reasoning effort."""
    max_concurrency: int = Field(default=8, ge=1, le=MOST)
    """Model calls under way at once; fewer while the provider refuses some for their rate, or is slow."""
    requests_per_minute: Positive | None = None
    """Each model gets no more requests than this; unset: as many as it takes."""
    tokens_per_minute: Positive | None = None
    """Each model gets no more input tokens than this."""
    max_attempts: int = Field(default=4, ge=1, le=MOST)
    """Tries for one answer before its traces are given up; a refusal for the rate is none."""
    max_wait_seconds: float = Field(default=300.0, ge=0, le=LARGEST)
    """For an answer, refusals for the rate are waited out this long; then they count as tries."""
    timeout_seconds: Positive = 120.0
    """One model call may take this long."""
    traces_per_call: int = Field(default=8, ge=1, le=64)
    """Traces in one assignment request; more is cheaper and less accurate."""
    digests_per_batch: int = Field(default=40, ge=2, le=500)
    """Digests in one discovery request."""
    discovery_traces: int = Field(default=500, ge=10, le=MOST)
    """Traces of the sample that the taxonomy is made from; all of the sample is assigned."""
    max_data_tokens: int = Field(default=32_000, ge=500, le=MOST)
    """Most tokens of trace text in one request, roughly; less for a model with a small context."""
    few_shot: int = Field(default=10, ge=0, le=MOST)
    """Labelled traces, at most one a category, that each assignment request begins with; 0 for none."""
    max_output_tokens: int = Field(default=4096, ge=64, le=MOST)
    """Longest answer asked for."""
    cache_days: float = Field(default=30, ge=0, le=MOST_DAYS)
    """Answers of models are kept this long: a run that is made again, or after it was killed, does not pay
    again for what it asked before. 0 keeps none."""
    prices: dict[str, ModelPrice] = Field(default={})
    """Prices by model name, over the built-in table."""
