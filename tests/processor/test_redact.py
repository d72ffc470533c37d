from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import trace_row
from tracetaxa.analyze.redact import redact, redact_row

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("mail me at jane.doe+shop@mail.example.co.uk.", "mail me at [email]."),
        ("jürgen@müller.example", "[email]"),
        ("<a@b.io>,c@d.io-e@f.io", "<[email]>,[email][email]"),
        ("call +49 170 1234567 now", "call [phone] now"),
        ("+1 (555) 010-4477", "[phone]"),
        ("+15550104477", "[phone]"),
        ("0049 170 1234567", "[phone]"),
        ("(555) 010-4477 or 555-010-4477", "[phone] or [phone]"),
        ("01 23 45 67 89", "[phone]"),
        ("020 7946 0958", "[phone]"),
        ("my phone number is 5550104477", "my phone number is [phone]"),
        ('{"phone": "5550104477"}', '{"phone": "[phone]"}'),
        ("card 4242 4242 4242 4242, thanks", "card [card], thanks"),
        ("5555555555554444", "[card]"),
        ("3782-822463-10005", "[card]"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN [iban]."),
        ("GB82WEST12345698765432", "[iban]"),
        ("key sk-proj-abcDEF123456_7890-xyzXYZ", "key [key]"),
        ("sk_live_abcdefghijklmnop1234", "[key]"),
        ("AKIAIOSFODNN7EXAMPLE", "[key]"),
        ("token ghp_abcdefghijklmnopqrstuvwxyz0123456789", "token [key]"),
        (f"Authorization: Bearer {JWT}", "Authorization: Bearer [key]"),
        ("Authorization: Bearer abcdef0123456789abcdef", "Authorization: Bearer [key]"),
        ("api_key=hunter2hunter2", "api_key=[key]"),
        ('"password": "correct horse"', '"password": "[key] horse"'),
        ("postgres://admin:s3cret@db/x", "postgres://[key]@db/x"),
        ("+49 170 1234567 4242 4242 4242 4242", "[phone] [card]"),
        (JWT[:40], "[key]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "[key]"),
    ],
)
def test_what_identifies_or_opens_is_replaced(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "order 1234567890",
        "order 123456789012345",
        "order #W2378156",
        "order 100200300400 and 4111111111111112",  # fails the check digit
        "reservation 10293847561",
        "2026-11-22 10:49:07",
        "2026-11-22T10:49:07.123456789Z",
        "192.168.100.200",
        "version 1.12.0",
        "550e8400-e29b-41d4-a716-446655440000",
        "12345678-1234-1234-1234-123456789012",
        "0123456789abcdef0123456789abcdef",
        "costs 1 200 000 EUR for 10 20 30 people",
        "trace 4bf92f3577b34da6a3ce929d0e0e4736",
        "used 1200 input tokens: 15000",
        "call me about order 1234567890",
        "call me back",
        "flight HAT039, seat 12-14-16",
        "@mention and a@b",
        "$1,234.56",
        "risk-assessment-and-mitigation-plan",
    ],
)
def test_ordinary_numbers_of_agent_traffic_stay(text: str) -> None:
    assert redact(text) == text


@given(
    st.lists(
        st.sampled_from(
            [
                "a@b.io",
                "+49 170 1234567",
                "4242 4242 4242 4242",
                JWT,
                " ",
                "x",
                "0",
                "-",
                "[key]",
                "://",
                "@",
                ":",
            ]
        )
        | st.text(max_size=5)
    ).map(" ".join)
)
def test_words_are_redacted_once_and_for_all(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


@pytest.mark.parametrize(
    "unit", ["a", "1", "1 ", "1-", "a.", "a@", "+", "0 ", "eyJ", "sk-", "AB12 ", "://a:", "-----BEGIN "]
)
def test_long_hostile_text_ends(unit: str) -> None:
    assert redact(unit * 20_000) is not None


def test_a_row_is_redacted_wherever_text_comes_from_people() -> None:
    row = trace_row(
        session_id="s-1",
        user_id="jane@example.com",
        input="I am jane@example.com",
        output="We called +49 170 1234567",
        attributes={"user.email": "jane@example.com", "release": "1.2.3"},
        digest_texts=("I am jane@example.com", "paid with 4242 4242 4242 4242"),
    )
    safe = redact_row(row)
    assert (safe.session_id, safe.user_id) == ("s-1", "[email]")
    assert (safe.input, safe.output) == ("I am [email]", "We called [phone]")
    assert safe.attributes == {"user.email": "[email]", "release": "1.2.3"}
    assert safe.digest_texts == ("I am [email]", "paid with [card]")
    assert row.digest_texts[0] == "I am jane@example.com"
