"""Attribute values as text: the collector's spelling, case by case, and for any tree of values."""

from __future__ import annotations

import json
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from tracetaxa_exporter.clickhouse.values import text, texts


def string(value: str) -> AnyValue:
    return AnyValue(string_value=value)


def double(value: float) -> AnyValue:
    return AnyValue(double_value=value)


def array(*values: AnyValue) -> AnyValue:
    return AnyValue(array_value=ArrayValue(values=values))


def kvlist(*pairs: tuple[str, AnyValue]) -> AnyValue:
    return AnyValue(
        kvlist_value=KeyValueList(values=[KeyValue(key=key, value=value) for key, value in pairs])
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (AnyValue(), ""),
        (string(""), ""),
        (string("hé\x00\u2028<"), "hé\x00\u2028<"),
        (AnyValue(bool_value=True), "true"),
        (AnyValue(bool_value=False), "false"),
        (AnyValue(int_value=0), "0"),
        (AnyValue(int_value=-(2**63)), "-9223372036854775808"),
        (AnyValue(bytes_value=b"\xff\x00\x01"), "/wAB"),
        (AnyValue(bytes_value=b""), ""),
        (AnyValue(string_value_strindex=7), ""),
        (array(), "[]"),
        (kvlist(), "{}"),
        (
            array(
                string('a"\n'),
                AnyValue(int_value=3),
                AnyValue(),
                AnyValue(bool_value=False),
                AnyValue(bytes_value=b"hi"),
            ),
            '["a\\"\\n",3,null,false,"aGk="]',
        ),
        (kvlist(("b", array(double(1.5))), ("a", kvlist(("x", string("y"))))), '{"a":{"x":"y"},"b":[1.5]}'),
        (kvlist(("same", string("first")), ("same", string("last"))), '{"same":"last"}'),
        (array(string("<b>&é\u2028\u2029\x01\x7f")), '["<b>&é\\u2028\\u2029\\u0001\x7f"]'),
        (array(double(math.nan), double(-math.inf)), "[null,null]"),
    ],
)
def test_value(value: AnyValue, expected: str) -> None:
    assert text(value) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0.0, "0"),
        (-0.0, "-0"),
        (1.0, "1"),
        (-2.5, "-2.5"),
        (0.1 + 0.2, "0.30000000000000004"),
        (0.00001, "0.00001"),
        (1.5e-6, "0.0000015"),
        (1e-6, "0.000001"),
        (9.5e-7, "9.5e-7"),
        (1e-7, "1e-7"),
        (1.25e-10, "1.25e-10"),
        (5e-324, "5e-324"),
        (123456789012345.6, "123456789012345.6"),
        (1e16, "10000000000000000"),
        (1.2345678901234567e20, "123456789012345670000"),
        (1e21, "1e+21"),
        (-1.7976931348623157e308, "-1.7976931348623157e+308"),
        (math.nan, "json: unsupported value: NaN"),
        (math.inf, "json: unsupported value: +Inf"),
        (-math.inf, "json: unsupported value: -Inf"),
    ],
)
def test_double_is_spelled_as_go_spells_it(number: float, expected: str) -> None:
    assert text(double(number)) == expected


def test_last_of_two_attributes_with_one_key_counts() -> None:
    attributes = [KeyValue(key="k", value=string("old")), KeyValue(key="k", value=string(""))]
    assert texts(attributes) == {"k": ""}


strings = st.text(st.characters(codec="utf-8"), max_size=20)
scalars = st.one_of(
    st.builds(AnyValue),
    st.builds(AnyValue, string_value=strings),
    st.builds(AnyValue, bool_value=st.booleans()),
    st.builds(AnyValue, int_value=st.integers(-(2**63), 2**63 - 1)),
    st.builds(AnyValue, double_value=st.floats()),
    st.builds(AnyValue, bytes_value=st.binary(max_size=20)),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: array(*items)),
        st.lists(st.tuples(strings, inner), max_size=4).map(lambda pairs: kvlist(*pairs)),
    ),
    max_leaves=15,
)


def plain(value: AnyValue) -> object:
    """The value as Python's own types; what JSON has no word for is None or a string."""
    match value.WhichOneof("value"):
        case "array_value":
            return [plain(item) for item in value.array_value.values]
        case "kvlist_value":
            return {pair.key: plain(pair.value) for pair in value.kvlist_value.values}
        case "double_value":
            return Decimal(repr(value.double_value)) if math.isfinite(value.double_value) else None
        case "bytes_value":
            return text(value)
        case None:
            return None
        case kind:
            return getattr(value, kind)


@given(values)
def test_lists_are_json_that_reads_back_as_the_same_value(value: AnyValue) -> None:
    # Decimals, because the double 53842477598875992 is rightly spelled with its shortest digits, …990.
    assert json.loads(text(array(value)), parse_int=Decimal, parse_float=Decimal) == [plain(value)]
    assert text(AnyValue.FromString(value.SerializeToString())) == text(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_doubles_read_back_exactly(number: float) -> None:
    assert math.copysign(1, float(text(double(number)))) == math.copysign(1, number)
    assert float(text(double(number))) == number
