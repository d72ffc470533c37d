from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factories import trace_row
from tracetaxa.analyze.digests.cutting import sparing
from tracetaxa.analyze.plain_text import shorten, truncate
from tracetaxa.analyze.redaction.hidden import hidden_across
from tracetaxa.analyze.redaction.patterns import KINDS
from tracetaxa.analyze.redaction.redact import CustomPattern, Redactor, redact
from tracetaxa.errors import ConfigError, RedactionFailed

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
        (f"Authorization: Bearer {JWT}", "Authorization: Bearer [token]"),
        ("Authorization: Bearer abcdef0123456789abcdef", "Authorization: Bearer [token]"),
        ("api_key=hunter2hunter2", "api_key=[key]"),
        ('"password": "correct horse"', '"password": "[password]"'),
        ("postgres://admin:s3cret@db/x", "postgres://[password]@db/x"),
        ("+49 170 1234567 4242 4242 4242 4242", "[phone] [card]"),
        (JWT[:40], "[token]"),
        ("OPENAI_API_KEY=abcdefgh12345678", "OPENAI_API_KEY=[key]"),
        ('{\\"apiKey\\": \\"abcdefgh12345678\\"}', '{\\"apiKey\\": \\"[key]\\"}'),
        ("DB_PASSWORD: hunter2hunter2,", "DB_PASSWORD: [password],"),
        ('"passphrase": "four words of it"', '"passphrase": "[password]"'),
        ("my password is tr0ub4dor", "my password is [password]"),
        ("session_token='q8w7e6r5t4y3'", "session_token='[token]'"),
        ('{"a": "j\\u00fcrgen@m\\u00fcller.de"}', '{"a": "[email]"}'),
        ("https:\\/\\/admin:s3cret@db", "https:\\/\\/[password]@db"),
        ("SSN 536-90-4399", "SSN [ssn]"),
        ("from 203.1.114.77.", "from [ip]."),
        ("http://203.1.114.77:8080/x", "http://[ip]:8080/x"),
        ("at 2a02:8070:8ea1:dc00::47b1", "at [ip]"),
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
        "version 1.12.0.7, v1.12.0.7",
        "::1 and fe80::1 and 127.0.0.1 and 10.20.30.40",
        "std::vector, a::b, 10:49:07",
        "my password is not working",
        "the password was reset: try again",
        '"password": {"type": "string"}',
        "secret: none",
        "666-12-3456, 123-00-4567",
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


@settings(deadline=None)
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
    safe = Redactor()(row)
    assert (safe.session_id, safe.user_id) == ("s-1", "[email]")
    assert (safe.input, safe.output) == ("I am [email]", "We called [phone]")
    assert safe.attributes == {"user.email": "[email]", "release": "1.2.3"}
    assert safe.digest_texts == ("I am [email]", "paid with [card]")
    assert row.digest_texts[0] == "I am jane@example.com"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("key eyJhbGciOiJIUz…", "key …"),
        ("I paid with 4242 4242 42… and left", "I paid with… and left"),
        ("my token sk-abc1234… … later words", "my token … … later words"),
        ("we were interrupted… by something", "we were interrupted… by something"),
        ("a@b.io… and Interrupted…", "[email]… and Interrupted…"),
        ("order 1234… and 12…", "order 1234… and 12…"),
        ("… at the start", "… at the start"),
    ],
)
def test_what_a_cut_left_half_of_goes_too(text: str, redacted: str) -> None:
    assert redact(text) == redacted
    assert redact(redacted) == redacted


def test_names_and_ids_are_redacted_too() -> None:
    row = trace_row(
        service_name="shop of a@b.io",
        root_name="invoke a@b.io",
        tools=("mail a@b.io", "get_order"),
        models=("a@b.io",),
        last_tool_before_error="mail a@b.io",
        feedback={"a@b.io": 1.0, "thumbs": 0.0},
        attributes={"a@b.io": "x"},
    )
    safe = Redactor()(row)
    assert "a@b.io" not in repr(safe)
    assert (safe.tools, safe.feedback) == (("mail [email]", "get_order"), {"[email]": 1.0, "thumbs": 0.0})


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_of_kinds_is_all_that_is_replaced(kind: str) -> None:
    text = (
        "a@b.io, +49 170 1234567, 4242 4242 4242 4242, GB82WEST12345698765432, 536-90-4399, "
        f"sk-abcdefghijklmnop1234, {JWT}, password=hunter2hunter2, 203.1.114.77"
    )
    redacted = Redactor([kind]).text(text)
    assert [k for k in KINDS if f"[{k}]" in redacted] == [kind]
    assert all(f"[{k}]" in redact(text) for k in KINDS)


def test_patterns_of_ones_own() -> None:
    redactor = Redactor(
        kinds=(),
        patterns=[
            CustomPattern("badge", r"(?i)\be-\d{6}\b"),
            CustomPattern("ward", r"Ward \d+", r"<\1 & \g<0>>"),
        ],
    )
    assert (
        redactor.text("é E-123456, e-000001 in Ward 7; a@b.io")
        == r"é [badge], [badge] in <\1 & \g<0>>; a@b.io"
    )
    assert redactor.text("half \ud800 E-123456") == "half ? [badge]"


@pytest.mark.parametrize(
    ("regex", "says"),
    [("(?=a)b", "look-around"), (r"(a)\1", "back-references"), ("(", "missing"), ("x*", "empty text")],
)
def test_a_pattern_that_can_not_be_used_says_why(regex: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Redactor(patterns=[CustomPattern("mine", regex)])


@pytest.mark.parametrize("regex", ["(a+)+$", "(a|aa)+$", "(x+x+)+y", r"(.*)*=", r"(\w+\s?)*$z"])
def test_no_pattern_hangs_a_run(regex: str) -> None:
    # Python's own engine needs longer than the age of the universe for most of these.
    redactor = Redactor(kinds=(), patterns=[CustomPattern("mine", regex)])
    assert len(redactor.text("a" * 50_000 + "x" * 50_000 + "b")) > 0


def test_the_hook_sees_text_and_not_names() -> None:
    seen: list[str] = []

    def hook(text: str) -> str:
        seen.append(text)
        return text.replace("Duras", "[name]")

    row = trace_row(user_id="Duras", input="I am Duras, d@e.io", digest_texts=("I am Duras, d@e.io", "Duras"))
    safe = Redactor(hook=hook)(row)
    assert (safe.input, safe.digest_texts) == ("I am [name], [email]", ("I am [name], [email]", "[name]"))
    assert safe.user_id == "Duras"
    # Each text once, and no ids.
    assert sorted(seen) == ["Duras", "I am Duras, [email]", "It is on its way.", "get_order", "invoke_agent"]


@pytest.mark.parametrize("result", [None, b"bytes", 3])
def test_a_hook_that_returns_no_text_stops(result: object) -> None:
    with pytest.raises(RedactionFailed, match="acme:redact returned"):
        Redactor(hook=lambda text: result, hook_name="acme:redact").text("x")  # type: ignore[arg-type,return-value]


def test_a_hook_that_raises_stops_and_its_message_stays_inside() -> None:
    def hook(text: str) -> str:
        raise ValueError(f"can't read {text}")

    with pytest.raises(RedactionFailed, match="raised ValueError") as failure:
        Redactor(hook=hook, hook_name="acme:redact")(trace_row(input="my secret wish"))
    assert "wish" not in str(failure.value)


def test_a_cut_in_the_name_of_a_secret_leaves_neither() -> None:
    """The value is known by its name, of two words here, so both stay or go together."""
    text = "Have a great trip! access token = hunter2hunter2 and see you"
    start, end = text.index("access"), text.index(" and see")
    for at in range(start + 1, end):
        assert hidden_across(text, at) == (start, end)


words = st.sampled_from(
    ["the", "order", "of", "E-4839201", "Ward of Mercy", "was", "wrong,", "x" * 30, "é", '{"a":"b"}']
)


@settings(deadline=None, max_examples=60)
@given(st.lists(words, min_size=1, max_size=30).map(" ".join), st.integers(0, 200))
def test_no_cut_leaves_a_piece_of_what_own_patterns_hide(text: str, at: int) -> None:
    redactor = Redactor(patterns=[CustomPattern("badge", r"E-\d{7}"), CustomPattern("ward", "Ward of Mercy")])
    for limit in {at, at // 2, len(text) - 1}:
        for cut in (
            sparing(redactor.hidden_across, shorten)(text, limit),
            sparing(redactor.hidden_across, truncate)(text, max(limit, 1)),
        ):
            redacted = redactor.text(cut)
            assert not re.search(r"E-\d|\d{3}|Ward|Mercy", redacted)
