"""What is forwarded, as OpenTelemetry instruments; names as the collector's exporters have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.metrics import Observation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.metrics import CallbackOptions, Meter

    from tracetaxa.forward.sending import Counts
    from tracetaxa.forward.spool import SpoolState

_EXPORTER = {"exporter": "otlp"}


def create_forward_instruments(meter: Meter, counts: Counts, spool: SpoolState) -> None:
    """Read when somebody asks, from totals that are there already."""

    def reader(value: Callable[[], int]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda options: [Observation(value(), _EXPORTER)]

    for name, value, description in (
        ("otelcol_exporter_sent_spans", lambda: counts.sent, "spans that the destination has."),
        (
            "otelcol_exporter_send_failed_spans",
            lambda: counts.rejected + counts.refused + counts.expired,
            "spans that it will not get: left out, refused for good, or too old.",
        ),
        (
            "tracetaxa.forward.failed.attempts",
            lambda: counts.failed_attempts,
            "requests that it did not take then; they are sent again.",
        ),
    ):
        meter.create_observable_counter(name, [reader(value)], description=f"Number of {description}")
    meter.create_observable_gauge(
        "tracetaxa.forward.spool.size",
        [reader(lambda: spool.used_bytes)],
        unit="By",
        description="Size of forward_spool on disk, of what was delivered lately as well.",
    )
