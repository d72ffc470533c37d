"""A label that came after its trace was sent: a span of its own in that trace.

An exported span can't be changed. This one is a child of the root span and links to it; OpenTelemetry's GenAI
conventions read it by its event `gen_ai.evaluation.result`, OpenInference by
`trace.evaluations.0.evaluation.*` (spec/annotations.md), anything else by the label's own attributes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tracetaxa import __version__
from tracetaxa.forward.labels import label_attributes
from tracetaxa.forward.mark import MARK
from tracetaxa_exporter.otlp.stamp import key_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracetaxa.forward.labels import Label
    from tracetaxa_exporter.otlp.stamp import Value

_ANNOTATORS: Final = {"human": "HUMAN", "llm": "LLM"}
"""Labeller → annotator_kind of OpenInference; the others are programs."""


@dataclass(frozen=True, slots=True)
class Root:
    """What a carrier is tied to."""

    span_id: bytes
    end_ns: int
    """When the trace ended: the carrier is put there, so that the trace does not look longer than it was."""


def carrier(label: Label, root: Root, instance: str) -> tuple[bytes, bytes, bytes]:
    """(resource, scope, span) for a request, as in `tracetaxa_exporter.raw`.

    The span's id follows from the label, so that one that is sent twice is the same span.
    """
    name = f"tracetaxa.{label.analysis}"
    trace_id = bytes.fromhex(label.trace_id)
    identity = trace_id + label.identity.to_bytes(8, "big")
    span = Span(
        trace_id=trace_id,
        span_id=blake2b(identity, digest_size=8, person=b"carrier").digest(),
        parent_span_id=root.span_id,
        name=name,
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=root.end_ns,
        end_time_unix_nano=root.end_ns,
        attributes=_attributes(
            {
                **label_attributes(label),
                "openinference.span.kind": "EVALUATOR",
                **_openinference(label, name),
                MARK: instance,
            }
        ),
        events=[
            Span.Event(
                name="gen_ai.evaluation.result",
                time_unix_nano=label.labelled_at_ns,
                attributes=_attributes(
                    {
                        "gen_ai.evaluation.name": name,
                        "gen_ai.evaluation.score.label": label.category,
                        "gen_ai.evaluation.score.value": round(label.confidence, 4),
                        **({"gen_ai.evaluation.explanation": label.reason} if label.reason else {}),
                    }
                ),
            )
        ],
        links=[Span.Link(trace_id=trace_id, span_id=root.span_id)],
    )
    origin = {"service.name": "tracetaxa", "service.version": __version__, "service.instance.id": instance}
    resource = ResourceSpans(resource=Resource(attributes=_attributes(origin)))
    scope = ScopeSpans(scope=InstrumentationScope(name="tracetaxa", version=__version__))
    return resource.SerializeToString(), scope.SerializeToString(), span.SerializeToString()


def _openinference(label: Label, name: str) -> dict[str, Value]:
    told = {
        "run_id": label.run_id,
        "taxonomy_version": label.taxonomy_version,
        "classifier_version": label.classifier_version,
        "evidence": label.evidence,
        "evidence_span_id": label.evidence_span_id,
    }
    values: dict[str, Value] = {
        "name": name,
        "label": label.category,
        "score": round(label.confidence, 4),
        "explanation": label.reason,
        "annotator_kind": _ANNOTATORS.get(label.labeller, "CODE"),
        "identifier": f"{label.identity:016x}",
        "metadata": json.dumps({key: value for key, value in told.items() if value}, ensure_ascii=False),
    }
    return {f"trace.evaluations.0.evaluation.{key}": value for key, value in values.items() if value != ""}


def _attributes(values: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue.FromString(message) for message in key_values(values)]
