"""OTLP's trace messages, read only as deep as a row needs.

Protobuf's Python objects, one for each attribute and one for its value, cost more than anything else on the
way of a span. The messages here have the fields and numbers of OTLP's, but strings are bytes, which can go on
to ClickHouse without being decoded, and every attribute (KeyValue) is its own serialized bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEY_VALUE = f".{common_pb2.KeyValue.DESCRIPTOR.full_name}"


def _shallow(messages: Iterable[DescriptorProto]) -> None:
    for message in messages:
        for field in message.field:
            if field.type == FieldDescriptorProto.TYPE_STRING or field.type_name == _KEY_VALUE:
                field.type = FieldDescriptorProto.TYPE_BYTES
                field.ClearField("type_name")
        _shallow(message.nested_type)


def _request_class() -> Any:
    pool = DescriptorPool()
    # Each after those that it imports.
    for module in (common_pb2, resource_pb2, trace_pb2, trace_service_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        _shallow(file.message_type)
        pool.AddSerializedFile(file.SerializeToString())
    name = trace_service_pb2.ExportTraceServiceRequest.DESCRIPTOR.full_name
    return GetMessageClass(pool.FindMessageTypeByName(name))


TraceRequest: Final[Any] = _request_class()
"""ExportTraceServiceRequest, shallow."""
