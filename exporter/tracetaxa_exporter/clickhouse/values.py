"""OTLP attribute values as text, spelled as the collector spells them.

The rules are those of `pcommon.Value.AsString` in the OpenTelemetry Collector, since it stopped escaping HTML
in April 2026: scalars as plain text, bytes as base64, arrays and key-value lists as compact JSON with sorted
keys. One difference: a NaN or an infinity inside a list makes the collector lose the whole value; here it is
`null`.
"""

from __future__ import annotations

import math
from base64 import b64encode
from decimal import Decimal
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue


def texts(attributes: Iterable[KeyValue]) -> dict[str, str]:
    """Attributes as a map of strings; of two with one key the last counts."""
    result = {}
    for attribute in attributes:
        value = attribute.value
        # The hot path: most values are non-empty strings, and asking for the kind costs as much as reading.
        result[attribute.key] = value.string_value or text(value)
    return result


def text(value: AnyValue) -> str:
    """One attribute value as a string; the empty value is the empty string."""
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return str(value.int_value)
        case "double_value":
            return _double(value.double_value)
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "array_value" | "kvlist_value":
            return _json(value)
        case "bytes_value":
            return b64encode(value.bytes_value).decode()
        case _:  # empty, or a reference into a table that only profiles have
            return ""


def _json(value: AnyValue) -> str:
    match value.WhichOneof("value"):
        case "string_value":
            return _quoted(value.string_value)
        case "int_value":
            return str(value.int_value)
        case "double_value":
            return _double(value.double_value) if math.isfinite(value.double_value) else "null"
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "array_value":
            return "[" + ",".join([_json(item) for item in value.array_value.values]) + "]"
        case "kvlist_value":
            members = {pair.key: pair.value for pair in value.kvlist_value.values}
            return "{" + ",".join([f"{_quoted(key)}:{_json(members[key])}" for key in sorted(members)]) + "}"
        case "bytes_value":
            return f'"{b64encode(value.bytes_value).decode()}"'
        case _:
            return "null"


def _quoted(string: str) -> str:
    quoted = encode_basestring(string)
    if "\u2028" in quoted or "\u2029" in quoted:
        quoted = quoted.replace("\u2028", r"\u2028").replace("\u2029", r"\u2029")
    return quoted


def _double(number: float) -> str:
    """Shortest digits that read back as the same number, in ECMAScript's notation (as Go's encoding/json)."""
    if not math.isfinite(number):
        return f"json: unsupported value: {'NaN' if math.isnan(number) else f'{number:+}'.title()}"
    digits = repr(number)
    if "e" not in digits:
        return digits.removesuffix(".0")
    if 1e-6 <= abs(number) < 1e21:
        return f"{Decimal(digits):f}"
    return digits.replace("e-0", "e-")
