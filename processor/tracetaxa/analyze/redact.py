"""One-way redaction of what leaves for a model.

Own patterns, not a library: what finds names too brings language models with it, and the bare numbers of
agent traffic (orders, tickets, bookings) must stay. Here a number must be written
like a phone number, and a card needs an issuer's prefix and a valid check digit. What is replaced can't be
restored: the raw trace stays in ClickHouse.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracetaxa.records import TraceRow

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


def redact(text: str) -> str:
    """`text` with `[email]`, `[phone]`, `[card]`, `[iban]`, `[key]` in place of what they name.

    Takes time linear in the length of the text.
    """
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def redact_row(row: TraceRow) -> TraceRow:
    """The trace with everything that a person or a program wrote redacted, its digest line by line.

    Session and user ids go through the same rules: an id that is an e-mail address is one.
    """
    return replace(
        row,
        session_id=redact(row.session_id),
        user_id=redact(row.user_id),
        input=redact(row.input),
        output=redact(row.output),
        attributes={key: redact(value) for key, value in row.attributes.items()},
        digest_texts=tuple(redact(text) for text in row.digest_texts),
    )


# ---------------------------------------------------------------------------------------- checks


def _luhn(digits: str) -> bool:
    """ISO/IEC 7812-1 annex B."""
    total = 0
    for i, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + i % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|(?:6011|64[4-9]\d|65\d\d|35\d\d)\d{12}"  # Discover, JCB
    r"|3(?:0[0-5]|[68]\d)\d{11}"  # Diners
    r"|62\d{14,17}"  # UnionPay
)


def _card(match: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", match[0])
    return "[card]" if _ISSUERS.fullmatch(digits) and _luhn(digits) else match[0]


def _iban(match: re.Match[str]) -> str:
    """ISO 13616: the number read with its first four characters last is 1 modulo 97."""
    text = match[0].replace(" ", "")
    number = "".join(str(int(c, 36)) for c in text[4:] + text[:4])
    return "[iban]" if 15 <= len(text) <= 34 and int(number) % 97 == 1 else match[0]


def _phone(fewest: int) -> Callable[[re.Match[str]], str]:
    def check(match: re.Match[str]) -> str:
        digits = sum(c.isdigit() for c in match[0])
        return "[phone]" if fewest <= digits <= 15 else match[0]  # E.164 allows 15

    return check


# ---------------------------------------------------------------------------------------- rules, in order
# Every repetition has a bound, so that no text takes more than linear time.

_KEY_FORMS = "|".join(
    (
        r"(?:sk|rk|pk)[-_](?:[a-z]{2,12}[-_]){0,3}[A-Za-z0-9_-]{16,256}",  # OpenAI, Anthropic, Stripe
        r"(?:AKIA|ASIA)[0-9A-Z]{16}",  # AWS
        r"gh[pousr]_[A-Za-z0-9]{20,255}",
        r"github_pat_\w{20,255}",
        r"glpat-[\w-]{20,64}",
        r"xox[abeprs]-[\w-]{10,255}",  # Slack
        r"AIza[\w-]{35}",  # Google
        r"ya29\.[\w-]{20,512}",
        r"(?:hf|npm)_[A-Za-z0-9]{20,64}",
        r"eyJ[\w-]{8,2048}\.[\w-]{8,4096}(?:\.[\w-]{0,2048})?",  # JSON web tokens
    )
)

_RULES: tuple[Rule, ...] = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[^-]{0,8192}(?:-----END [A-Z ]{0,32}PRIVATE KEY-----)?"
        ),
        "[key]",
    ),
    (re.compile(rf"(?<![\w-])(?:{_KEY_FORMS})"), "[key]"),
    (re.compile(r"\b(bearer|basic)\s{1,4}(?!\[key\])[\w.~+/-]{16,4096}={0,2}", re.IGNORECASE), r"\1 [key]"),
    (
        re.compile(
            r"\b((?:api|access|secret|private|auth)[_ -]?(?:key|token)|client[_ -]?secret"
            r"|password|passwd|pwd|secret)"
            r"([\"']?\s{0,4}[:=]\s{0,4}[\"']?)(?!\[)[^\s\"',;]{6,512}",
            re.IGNORECASE,
        ),
        r"\1\2[key]",
    ),
    (re.compile(r"(://)[^\s/@:\[\]]{1,64}:[^\s/@\[\]]{1,256}@"), r"\1[key]@"),
    (
        re.compile(r"[\w.%+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}\b"),
        "[email]",
    ),
    (re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), _iban),
    (re.compile(r"(?<![\d.])(?<!\d[ -])\d(?:[ -]?\d){12,18}(?![ -]?\d)"), _card),
    # +49 170 1234567, 0049 170 1234567
    (re.compile(r"(?<![\w+])\+\d(?:[ ().\-/]{0,2}\d){6,14}(?!\d)"), _phone(8)),
    (re.compile(r"(?<![\w-])00[1-9]\d?(?:[ .\-/]{1,2}\(?\d{2,8}\)?){2,5}(?![\w-])"), _phone(10)),
    # (555) 123-4567, 555-123-4567, 1 555 123 4567
    (re.compile(r"(?<![\w.-])(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"), _phone(10)),
    # 0171 1234567, 01 23 45 67 89, 020 7946 0958
    (re.compile(r"(?<![\w.-])\(?0\d{1,4}\)?(?:[ .\-/]\d{2,8}){1,4}(?![\w-])"), _phone(9)),
    # phone: 5551234567
    (
        re.compile(
            r"\b((?:tele)?phone|tel|mobile|cell|fax|whatsapp|call me|text me)"
            r"((?:\s{0,2}(?:number|no|nr|is|at|on|under|[.:=#\"'])){0,4}\s{0,2})\d{7,15}(?!\d)",
            re.IGNORECASE,
        ),
        r"\1\2[phone]",
    ),
)
