"""Labels: how every trace gets one, and how they reach spans."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tracetaxa.config.section import Section
from tracetaxa.config.values import Positive


def _yaml_switch(value: Any) -> Any:
    """In YAML, on and off without quotes are true and false."""
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value


class LabelConfig(Section):
    spans: Literal["root", "all"] = "root"
    """Which spans of a trace get its labels as attributes, written back or forwarded."""
    timeout_seconds: Positive = 10.0
    """How long a closed trace waits to be forwarded until every analysis with `label_all` has labelled it.
    Labels that come later follow as a span of their own."""
    write_back: Annotated[Literal["off", "auto", "on"], BeforeValidator(_yaml_switch)] = "off"
    """Labels as attributes in `otel_traces` itself, by ClickHouse's lightweight updates (docs/labels.md).
    `auto`: where the table's settings allow it; `on` also sets them, `enable_block_number_column` and
    `enable_block_offset_column`, which cost 16 bytes a span until they are compressed."""
    write_back_seconds: Positive = 5.0
    """How often changed labels are looked for. Each time that there are any makes parts in `otel_traces`."""
    write_back_traces: int = Field(default=1000, ge=1, le=10_000)
    """Most traces that one update changes. More at once make fewer parts, and take more memory."""
    tick_seconds: Positive = 1.0
    """How often traces of analyses with `label_all` are looked for that wait for a label, beside each time
    that traces closed."""
    learn_seconds: Positive = 5.0
    """How often finished runs are looked for that nothing was learned from yet."""
    batch_traces: int = Field(default=500, ge=1, le=2000)
    """Traces that are labelled together. More costs memory and lets new traces wait longer."""
    embeddings: bool = False
    """Learn from sentence embeddings too: labels get better, and labelling several times slower."""
    ask_model: bool = True
    """Ask the model about traces that the classifier is not sure of, within the two limits below and the
    analysis' `budget.usd`, of which the run has used a part. The others stay `other`. Only after runs by a
    model."""
    max_asked_per_hour: int = Field(default=100, ge=0)
    """Traces that the model is asked about in any hour, of each analysis."""
    max_waiting_to_ask: int = Field(default=1000, ge=1)
    """Unsure traces that wait for the model; more are not asked about."""
    estimate_traces: int = Field(default=20_000, ge=0)
    """Traces of a run's window that nobody read and that are predicted to make the report's shares more exact
    (docs/method.md). 0: shares are of the sample alone."""
    folds: int = Field(default=5, ge=2, le=20)
    """The sample is divided into so many parts for that, each predicted by a classifier that learned from the
    others. More is slower, and uses small samples better."""
