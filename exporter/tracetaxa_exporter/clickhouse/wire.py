"""OTLP's trace messages, read only as deep as somebody must look at them before ClickHouse does.

Protobuf's Python objects, one for each attribute and one for its value, cost more than anything else on the
way of a span. So a request is read twice, which is cheap: as `TraceRequest`, to check it and to look at what
few spans have, and as `RawRequest`, in which each span is its own bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor_pb2 import (
    EDITION_2023,
    DescriptorProto,
    FeatureSet,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

_FIELD: Final = FieldDescriptorProto
_FILES: Final = (common_pb2, resource_pb2, trace_pb2, trace_service_pb2)
"""Each after those that it imports."""


def _request_class(adapt: Callable[[DescriptorProto], None]) -> Any:
    """ExportTraceServiceRequest, with every message changed by `adapt`."""
    pool = DescriptorPool()
    for module in _FILES:
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        file.syntax, file.edition = "editions", EDITION_2023
        file.options.features.field_presence = FeatureSet.IMPLICIT
        for message in file.message_type:
            _each(message, adapt)
        pool.AddSerializedFile(file.SerializeToString())
    name = trace_service_pb2.ExportTraceServiceRequest.DESCRIPTOR.full_name
    return GetMessageClass(pool.FindMessageTypeByName(name))


def _each(message: DescriptorProto, adapt: Callable[[DescriptorProto], None]) -> None:
    for nested in message.nested_type:
        _each(nested, adapt)
    for field_ in message.field:
        field_.ClearField("proto3_optional")
    adapt(message)


def _flatten(message: DescriptorProto) -> None:
    """Read of lists only the strings: what is nested in them is left as it is."""
    if message.name == "ArrayValue":
        text = common_pb2.AnyValue.DESCRIPTOR.fields_by_name["string_value"]
        item = message.nested_type.add(name="Text")
        item.field.append(
            _FIELD(name=text.name, number=text.number, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
        )
        message.field[0].type_name = f".{common_pb2.DESCRIPTOR.package}.ArrayValue.Text"


def _close(message: DescriptorProto) -> None:
    """Leave spans and where they come from as they are."""
    closed = {"ResourceSpans": {"resource"}, "ScopeSpans": {"scope", "spans"}}.get(message.name, set())
    for field_ in message.field:
        if field_.name in closed:
            field_.type = _FIELD.TYPE_BYTES
            field_.ClearField("type_name")


TraceRequest: Final[Any] = _request_class(_flatten)
"""ExportTraceServiceRequest. A list that is nested too deep for protobuf is no reason to refuse the request:
ClickHouse says of its span what it can't take."""

RawRequest: Final[Any] = _request_class(_close)
"""ExportTraceServiceRequest, in which resources, scopes and spans are the bytes of these messages."""
