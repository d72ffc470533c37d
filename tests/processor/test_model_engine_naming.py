from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracetaxa.analyze import naming

CATCH_ALLS = """Other, others, Other questions, Misc, Miscellaneous requests, General, General inquiries,
Various, Everything else, N/A, None, Unknown, Unclear requests, Mixed topics, Uncategorized traces"""


@pytest.mark.parametrize("name", re.split(r",\s+", CATCH_ALLS))
def test_names_that_say_nothing(name: str) -> None:
    assert naming.is_catch_all(name)


@pytest.mark.parametrize(
    "name",
    [
        "Unknown charge dispute",
        "Generate reports",
        "Otherworldly fiction",
        "Mixed currency refund",
        "Nonexistent order",
    ],
)
def test_names_that_say_something(name: str) -> None:
    assert not naming.is_catch_all(name)


def test_ids_are_distinct_and_name_their_parent() -> None:
    used = {"other"}
    assert naming.identify(["Late refund", "Late, refund!", "Other", "42 is it", "退款"], used) == [
        "late_refund",
        "late_refund_2",
        "other_2",
        "c_42_is_it",
        "category",
    ]
    assert naming.identify(["Late refund"], used, "late_refund") == ["late_refund__late_refund"]


@given(st.lists(st.text(max_size=80)))
def test_any_name_becomes_an_id(names: list[str]) -> None:
    ids = naming.identify(names, set())
    assert len(set(ids)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", i) for i in ids)


@given(st.text())
def test_names_are_short_and_plain(text: str) -> None:
    name = naming.clean_name(text)
    assert len(name) <= naming.NAME_CHARS
    assert name.isprintable()
    assert not set('<>"{}') & set(name)
