"""What identifies a person or opens a door, as patterns by kind.

Own patterns, not a library: what finds names too brings language models with it, and the bare numbers of
agent traffic (orders, tickets, bookings) must stay. Here a number must be written like a phone number, a card
needs an issuer's prefix and a valid check digit, an address must be one of the public network.
Every repetition has a bound, so that no text takes more than linear time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Rule:
    """What one form of a kind looks like, and what stands there afterwards."""

    kind: str
    pattern: re.Pattern[str]
    replacement: str | Callable[[re.Match[str]], str]
    hints: tuple[str, ...] = ()
    """A text that holds none of these, case folded, holds nothing of the form: most texts of most forms."""

    def apply(self, text: str, folded: str) -> str:
        """`folded` is `text` without its case."""
        if self.hints and not any(hint in folded for hint in self.hints):
            return text
        return self.pattern.sub(self.replacement, text)


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


def _ip(match: re.Match[str]) -> str:
    """Only addresses of the public network: the others are the same in every house."""
    try:
        return "[ip]" if ip_address(match[0]).is_global else match[0]
    except ValueError:
        return match[0]


# ---------------------------------------------------------------------------------------- what opens a door

PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[^-]{0,8192}(?:-----END [A-Z ]{0,32}PRIVATE KEY-----)?"
)
_KEY_FORMS = "|".join(
    (
        r"(?:sk|rk|pk)[-_](?:[a-z]{2,12}[-_]){0,3}[A-Za-z0-9_-]{16,256}",  # OpenAI, Anthropic, Stripe
        r"(?:AKIA|ASIA)[0-9A-Z]{16}",  # AWS
        r"gh[pousr]_[A-Za-z0-9]{20,255}",
        r"github_pat_\w{20,255}",
        r"glpat-[\w-]{20,64}",
        r"xox[abeprs]-[\w-]{10,255}",  # Slack
        r"AIza[\w-]{35}",  # Google
        r"(?:hf|npm)_[A-Za-z0-9]{20,64}",
    )
)
_TOKEN_FORMS = "|".join(
    (
        r"ya29\.[\w-]{20,512}",
        r"eyJ[\w-]{16,2048}(?:\.[\w-]{0,4096}){0,4}",  # JSON web tokens, and a beginning of one
    )
)
KEY = re.compile(rf"(?<![\w-])(?:{_KEY_FORMS})")
TOKEN = re.compile(rf"(?<![\w-])(?:{_TOKEN_FORMS})")
BEARER = re.compile(r"\b(bearer|basic)\s{1,4}(?!\[)[\w.~+/-]{16,4096}={0,2}", re.IGNORECASE)
CREDENTIALS = re.compile(r"(:(?:\\?/){2})[^\s/@:\[\]]{1,64}:[^\s/@\[\]]{1,256}@")

# A value in quotes (of JSON inside JSON too) goes on to the next quote, a bare one to the next break.
_NO_PLACEHOLDER = r"(?!\[[a-z_]{1,32}\])"
_VALUE = rf"(\\{{0,3}}[\"'])?{_NO_PLACEHOLDER}(?(3)[^\"'\\]{{4,512}}|[^\s\"',;\\]{{6,512}})"
_SETS = r"(\\{0,3}[\"']?\s{0,4}[:=]\s{0,4})"


def _named(names: str) -> re.Pattern[str]:
    """`names`, a colon or an equals sign, and a value: groups 1 to 3 stay, the value goes."""
    return re.compile(rf"({names}){_SETS}{_VALUE}", re.IGNORECASE)


NAMED_KEY = _named(
    r"(?:api|access|secret|private|auth|signing|encryption)[_ -]?key|client[_ -]?secret|(?<![A-Za-z])secret"
)
NAMED_TOKEN = _named(r"(?:access|auth|refresh|session|bearer|api|id)[_ -]?token")
NAMED_PASSWORD = _named(r"passwor[dt]|passwd|passphrase|(?<![A-Za-z])pwd")
SPOKEN_PASSWORD = re.compile(
    rf"\b(password|passphrase|pin code)(\s{{1,4}}(?:is|was)\s{{1,4}})(){_NO_PLACEHOLDER}"
    r"(?=[^\s\d]{0,64}\d)[^\s\"',;]{4,64}",
    re.IGNORECASE,
)


def _value_to(placeholder: str) -> Callable[[re.Match[str]], str]:
    return lambda match: f"{match[1]}{match[2]}{match[3] or ''}{placeholder}"


# ---------------------------------------------------------------------------------------- people

_ESCAPED = r"\\(?=u[0-9A-Fa-f]{4})"
"""JSON inside JSON may write any letter as an escape."""
EMAIL = re.compile(
    rf"(?:[\w.%+-]|{_ESCAPED}){{1,64}}@(?:(?:[\w-]|{_ESCAPED}){{1,63}}\.){{1,8}}[^\W\d_]{{2,24}}\b"
)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
CARD = re.compile(r"(?<![\d.])(?<!\d[ -])\d(?:[ -]?\d){12,18}(?![ -]?\d)")
SSN = re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])")
IPV4 = re.compile(r"(?<![\w.-])(?<!version )\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)", re.IGNORECASE)
IPV6 = re.compile(  # of the global unicast range, 2000::/3
    r"(?<![\w:.])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])"
)
PHONES: tuple[tuple[re.Pattern[str], int], ...] = (
    # +49 170 1234567, 0049 170 1234567
    (re.compile(r"(?<![\w+])\+\d(?:[ ().\-/]{0,2}\d){6,14}(?!\d)"), 8),
    (re.compile(r"(?<![\w-])00[1-9]\d?(?:[ .\-/]{1,2}\(?\d{2,8}\)?){2,5}(?![\w-])"), 10),
    # (555) 123-4567, 555-123-4567, 1 555 123 4567
    (re.compile(r"(?<![\w.-])(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\w-])"), 10),
    # 0171 1234567, 01 23 45 67 89, 020 7946 0958
    (re.compile(r"(?<![\w.-])\(?0\d{1,4}\)?(?:[ .\-/]\d{2,8}){1,4}(?![\w-])"), 9),
)
"""With the fewest digits that a number of this form has."""
NAMED_PHONE = re.compile(  # phone: 5551234567
    r"\b((?:tele)?phone|tel|mobile|cell|fax|whatsapp|call me|text me)"
    r"((?:\s{0,2}(?:number|no|nr|is|at|on|under|[.:=#\"'])){0,4}\s{0,2})\d{7,15}(?!\d)",
    re.IGNORECASE,
)

RULES: tuple[Rule, ...] = (
    Rule("key", PRIVATE_KEY, "[key]", ("private key-----",)),
    Rule("key", KEY, "[key]"),
    Rule("token", TOKEN, "[token]", ("ya29.", "eyj")),
    Rule("token", BEARER, r"\1 [token]", ("bearer", "basic")),
    Rule("token", NAMED_TOKEN, _value_to("[token]"), ("token",)),
    Rule("key", NAMED_KEY, _value_to("[key]"), ("key", "secret")),
    Rule("password", NAMED_PASSWORD, _value_to("[password]"), ("passwor", "passwd", "passphrase", "pwd")),
    Rule("password", SPOKEN_PASSWORD, _value_to("[password]"), ("password", "passphrase", "pin code")),
    Rule("password", CREDENTIALS, r"\1[password]@", ("@",)),
    Rule("email", EMAIL, "[email]", ("@",)),
    Rule("iban", IBAN, _iban),
    Rule("card", CARD, _card),
    Rule("ssn", SSN, "[ssn]", ("-",)),
    *(Rule("phone", pattern, _phone(fewest)) for pattern, fewest in PHONES),
    Rule(
        "phone",
        NAMED_PHONE,
        r"\1\2[phone]",
        ("phone", "tel", "mobile", "cell", "fax", "whatsapp", "call me", "text me"),
    ),
    Rule("ip", IPV4, _ip, (".",)),
    Rule("ip", IPV6, _ip, (":",)),
)
"""In order: what comes first may hold what comes later."""

KINDS: tuple[str, ...] = tuple(dict.fromkeys(rule.kind for rule in RULES))
