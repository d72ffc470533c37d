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
    from collections.abc import Iterator

    from tracetaxa.records import TraceRow

_PASSES = 3
"""What is replaced may uncover its neighbour: a card number right after a phone number."""

Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


def redact(text: str) -> str:
    """`text` with `[email]`, `[phone]`, `[card]`, `[iban]`, `[key]` in place of what they name.

    Takes time linear in the length of the text.
    """
    for _ in range(_PASSES):
        before = text
        for pattern, replacement in _RULES:
            text = pattern.sub(replacement, text)
        if text == before:
            break
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
        r"eyJ[\w-]{16,2048}(?:\.[\w-]{0,4096}){0,4}",  # JSON web tokens, and a beginning of one
    )
)

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[^-]{0,8192}(?:-----END [A-Z ]{0,32}PRIVATE KEY-----)?"
)
_KEY = re.compile(rf"(?<![\w-])(?:{_KEY_FORMS})")
_BEARER = re.compile(r"\b(bearer|basic)\s{1,4}(?!\[key\])[\w.~+/-]{16,4096}={0,2}", re.IGNORECASE)
_NAMED_SECRET = re.compile(
    r"\b((?:api|access|secret|private|auth)[_ -]?(?:key|token)|client[_ -]?secret"
    r"|password|passwd|pwd|secret)"
    r"([\"']?\s{0,4}[:=]\s{0,4}[\"']?)(?!\[)[^\s\"',;]{6,512}",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(r"(://)[^\s/@:\[\]]{1,64}:[^\s/@\[\]]{1,256}@")
_EMAIL = re.compile(r"[\w.%+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}\b")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"(?<![\d.])(?<!\d[ -])\d(?:[ -]?\d){12,18}(?![ -]?\d)")
_PHONES: tuple[tuple[re.Pattern[str], int], ...] = (
    # +49 170 1234567, 0049 170 1234567
    (re.compile(r"(?<![\w+])\+\d(?:[ ().\-/]{0,2}\d){6,14}(?!\d)"), 8),
    (re.compile(r"(?<![\w-])00[1-9]\d?(?:[ .\-/]{1,2}\(?\d{2,8}\)?){2,5}(?![\w-])"), 10),
    # (555) 123-4567, 555-123-4567, 1 555 123 4567
    (re.compile(r"(?<![\w.-])(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"), 10),
    # 0171 1234567, 01 23 45 67 89, 020 7946 0958
    (re.compile(r"(?<![\w.-])\(?0\d{1,4}\)?(?:[ .\-/]\d{2,8}){1,4}(?![\w-])"), 9),
)
"""With the fewest digits that a number of this form has."""
_NAMED_PHONE = re.compile(  # phone: 5551234567
    r"\b((?:tele)?phone|tel|mobile|cell|fax|whatsapp|call me|text me)"
    r"((?:\s{0,2}(?:number|no|nr|is|at|on|under|[.:=#\"'])){0,4}\s{0,2})\d{7,15}(?!\d)",
    re.IGNORECASE,
)

_RULES: tuple[Rule, ...] = (
    (_PRIVATE_KEY, "[key]"),
    (_KEY, "[key]"),
    (_BEARER, r"\1 [key]"),
    (_NAMED_SECRET, r"\1\2[key]"),
    (_CREDENTIALS, r"\1[key]@"),
    (_EMAIL, "[email]"),
    (_IBAN, _iban),
    (_CARD, _card),
    *((pattern, _phone(fewest)) for pattern, fewest in _PHONES),
    (_NAMED_PHONE, r"\1\2[phone]"),
)


# ---------------------------------------------------------------------------------------- around one place
# The same patterns, tried only where a cheap test says that one of them may hold: a digest is cut in many
# places, and all patterns over all of its text would cost more than making it.

_REACH = 512
_FAR_REACH = 20_000
"""How far a word is looked at, and one that goes on beyond: web tokens are the longest keys."""
_KEY_BLOCK = 8300
"""No private key is longer."""
_BREAK = re.compile(r"[\s\"',;]")
_NAME = re.compile(
    "key|token|secret|pass|pwd|bearer|basic|phone|tel|mobile|cell|fax|whatsapp|call me|text me",
    re.IGNORECASE,
)
_NAME_REACH = 64
"""A name and what stands between it and its value are shorter."""
_NUMERIC = "0123456789 +().-/"
"""What numbers in groups are written with; an IBAN has letters too."""
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NUMBER_REACH = 64
_LONGEST_NUMBER = 80
"""Digits and signs that go on for longer are a table of numbers."""
_SEVEN_DIGITS = re.compile(r"(?:\D*\d){7}")


def hidden_across(text: str, at: int) -> tuple[int, int]:
    """(start, end) of what `redact` hides on both sides of `at`; (at, at) where it hides nothing.

    May be wider than what is hidden, and takes in what only looks like a card or a phone number.
    """
    if not 0 < at < len(text):
        return at, at
    found = [*_hidden_word(text, at), *_hidden_number(text, at), *_hidden_block(text, at)]
    across = [(start, end) for start, end in found if start < at < end]
    return min((s for s, _ in across), default=at), max((e for _, e in across), default=at)


def _hidden_word(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Keys, addresses and named values around `at`: a word that nothing in `_BREAK` interrupts."""
    low, high = max(0, at - _REACH), min(len(text), at + _REACH)
    last = _BREAK.search(text[low:at][::-1])
    start = at - last.start() if last else low
    broken = _BREAK.search(text, at, high)
    end = broken.start() if broken else high
    if last is None or broken is None:
        far = _BREAK.search(text[max(0, at - _FAR_REACH) : at][::-1])
        start = at - far.start() if far else max(0, at - _FAR_REACH)
        broken = _BREAK.search(text, at, at + _FAR_REACH)
        end = broken.start() if broken else min(len(text), at + _FAR_REACH)
    if end - start > 8:
        yield from _matches(_KEY, text, start, end)
        if "@" in text[start:end]:
            yield from _matches(_EMAIL, text, max(0, start - 1), end)
    before = max(0, start - _NAME_REACH)
    if _NAME.search(text, before, end) is None:
        return
    # The value may be the word after this one: the name, white space, the value.
    beyond = _BREAK.search(text, end + 6, end + _REACH)
    after = beyond.start() if beyond else min(len(text), end + _REACH)
    yield from _matches(_BEARER, text, before, after)
    yield from _matches(_NAMED_SECRET, text, before, after)
    yield from _matches(_NAMED_PHONE, text, before, min(len(text), end + _NAME_REACH))


def _hidden_number(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Numbers in groups around `at`, whatever they are numbers of."""
    start, end = _surroundings(text, at, _NUMERIC + _LETTERS)
    if end - start < 7 or _SEVEN_DIGITS.match(text, start, end) is None:
        return
    yield from _matches(_IBAN, text, start, min(len(text), end + 2))
    start, end = _surroundings(text, at, _NUMERIC)
    if _SEVEN_DIGITS.match(text, start, end) is None:
        return
    if end - start <= _LONGEST_NUMBER:
        yield start, end
    else:
        for pattern in (_CARD, *(phone for phone, _ in _PHONES)):
            yield from _matches(pattern, text, start, min(len(text), end + 2))


def _surroundings(text: str, at: int, characters: str) -> tuple[int, int]:
    """(start, end) of what is written with these characters around `at`, within `_NUMBER_REACH`."""
    left, right = text[max(0, at - _NUMBER_REACH) : at], text[at : at + _NUMBER_REACH]
    return at - len(left) + len(left.rstrip(characters)), at + len(right) - len(right.lstrip(characters))


def _hidden_block(text: str, at: int) -> Iterator[tuple[int, int]]:
    """Private keys and credentials in addresses around `at`: these may hold breaks."""
    scheme = text.rfind("://", max(0, at - 330), at)
    if scheme >= 0:
        yield from _matches(_CREDENTIALS, text, scheme, scheme + 330)
    low = max(0, at - _KEY_BLOCK)
    if text.find("PRIVATE KEY-----", low, at + _KEY_BLOCK) >= 0:
        yield from _matches(_PRIVATE_KEY, text, low, at + _KEY_BLOCK)


def _matches(pattern: re.Pattern[str], text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    return (match.span() for match in pattern.finditer(text, start, end))
