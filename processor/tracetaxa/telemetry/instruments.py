"""The metrics as OpenTelemetry instruments; docs/metrics.md has their names.

They are read when somebody asks, from figures that are there already. The OpenTelemetry SDK serves Prometheus
and OTLP from one definition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions, Meter

    from tracetaxa.receive.export import Counts
    from tracetaxa.telemetry.figures import Figures


def create_instruments(
    meter: Meter, figures: Callable[[], Figures], ingest: Callable[[], Mapping[str, Counts]]
) -> None:
    """ingest: what came in since the start, by `spans` and `log records`."""
    _labels(meter, figures)
    _state(meter, figures)
    _received(meter, ingest)


def _labels(meter: Meter, figures: Callable[[], Figures]) -> None:
    def labels(options: CallbackOptions) -> Iterable[Observation]:
        for count in figures().labels:
            yield Observation(
                count.traces,
                {
                    "analysis": count.analysis,
                    "category_id": count.category_id,
                    "category": count.category,
                    "labeller": count.labeller,
                },
            )

    def shares(options: CallbackOptions) -> Iterable[Observation]:
        for (analysis, category_id, category), share in figures().shares().items():
            attributes = {"analysis": analysis, "category_id": category_id, "category": category}
            yield Observation(share, attributes)

    meter.create_observable_gauge(
        "tracetaxa.label.traces",
        [labels],
        description="Traces that started within metrics.window, by the label that counts.",
    )
    meter.create_observable_gauge(
        "tracetaxa.label.share",
        [shares],
        description="Share of a category among the labelled traces that started within metrics.window.",
    )


def _state(meter: Meter, figures: Callable[[], Figures]) -> None:
    def traces(options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(figures().traces)

    def open_traces(options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(figures().open_traces)

    def waiting(options: CallbackOptions) -> Iterable[Observation]:
        if (count := figures().write_back_waiting) is not None:
            yield Observation(count)

    meter.create_observable_gauge(
        "tracetaxa.window.traces",
        [traces],
        description="Closed traces of agents that started within metrics.window, labelled or not.",
    )
    meter.create_observable_gauge(
        "tracetaxa.open.traces", [open_traces], description="Traces that are not closed yet."
    )
    meter.create_observable_gauge(
        "tracetaxa.write_back.waiting.traces",
        [waiting],
        description="Traces whose newest labels are not written back into otel_traces yet.",
    )


def _received(meter: Meter, ingest: Callable[[], Mapping[str, Counts]]) -> None:
    """Under the names of the collector's receivers, so that their dashboards fit."""

    def reader(items: str, field: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(options: CallbackOptions) -> Iterable[Observation]:
            if (counts := ingest().get(items)) is not None:
                yield Observation(getattr(counts, field), {"receiver": "otlp"})

        return read

    for items in ("spans", "log records"):
        for field, description in (
            ("accepted", f"{items} that are stored"),
            ("refused", f"{items} whose senders were told to come back"),
            ("failed", f"{items} that can never be stored"),
        ):
            meter.create_observable_counter(
                f"otelcol_receiver_{field}_{items.replace(' ', '_')}",
                [reader(items, field)],
                description=f"Number of {description}.",
            )
