"""What a request looks like, told by a program: its length, language, digits, attachments, code, links.

Only such facts leave this module, never a word of the request, so they may be computed before redaction,
which would change them.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tracetaxa.records import SampledTrace, TraceRow

DetectLanguage = Callable[[str], str]
"""Text → ISO 639 code; empty where it can't tell."""

LENGTHS = (50, 100, 200, 400, 800, 1600, 3200, 6400)
"""Characters that a request is longer than."""
SHORT = 20
"""Characters that a request is shorter than."""
DIGITS = (5, 10)
"""Digits in a row: an order number, a card or an account."""
LINES = 5
READ_CHARS = 20_000
"""Of a request, what is looked at; its length is that of all."""
_SCRIPT_LETTERS = 200
_LEAST_LANGUAGE_LETTERS = 12
"""Letters without which no language is told."""

_RUN = re.compile(r"\d+")
_ATTACHMENT = re.compile(
    r"^\[(?:image|audio|video|document|file|blob|image_url|input_image|input_audio|input_file|uri|pdf)\]$",
    re.MULTILINE,
)
"""What the dialects write in place of a part of a message that is no text."""
_CODE = re.compile(r"```|^(?: {4}|\t)\S.*\n(?: {4}|\t)\S", re.MULTILINE)
_URL = re.compile(r"\bhttps?://\S|\bwww\.[a-z0-9-]", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}\.[a-z]", re.IGNORECASE)
_DATA = re.compile(r"[{\[]\s{0,8}\"[^\"\n]{1,80}\"\s{0,8}[:,]|</[a-z][a-z0-9]{0,20}>", re.IGNORECASE)
_EASTERN = {"HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean", "CJK": "Chinese"}
"""Scripts of one language; Chinese characters with kana among them are Japanese."""


@dataclass(frozen=True, slots=True)
class RequestShape:
    characters: int
    lines: int
    longest_digits: int
    """Digits of the longest run."""
    attachment: bool
    code: bool
    link: bool
    email: bool
    data: bool
    """JSON or markup."""
    script: str
    """Of most letters, such as `latin` or `cyrillic`; empty without letters."""
    language: str
    """ISO 639; empty where nobody can tell."""


def shapes_of(
    sample: Iterable[SampledTrace], detect_language: DetectLanguage | None = None
) -> dict[str, RequestShape]:
    """By trace id, of those whose request was captured."""
    shapes = ((trace.row.trace_id, shape_of(trace.row, detect_language)) for trace in sample)
    return {trace_id: shape for trace_id, shape in shapes if shape is not None}


def shape_of(row: TraceRow, detect_language: DetectLanguage | None = None) -> RequestShape | None:
    """Of what the user asked first; None when that was not captured."""
    if not row.input.strip():
        return None
    text = row.input[:READ_CHARS]
    words = _ATTACHMENT.sub("", text)
    letters = sum(map(str.isalpha, words))
    detected = detect_language(words) if detect_language and letters >= _LEAST_LANGUAGE_LETTERS else ""
    return RequestShape(
        characters=len(row.input),
        lines=text.strip().count("\n") + 1,
        longest_digits=max((len(run) for run in _RUN.findall(text)), default=0),
        attachment=_ATTACHMENT.search(text) is not None,
        code=_CODE.search(text) is not None,
        link=_URL.search(text) is not None,
        email="@" in text and _EMAIL.search(text) is not None,
        data=_DATA.search(text) is not None,
        script=_script(words),
        language=detected,
    )


def _script(text: str) -> str:
    """By the first word of the letters' Unicode names; Chinese, Japanese and Korean by what they share."""
    letters = [c for c in text[: 4 * _SCRIPT_LETTERS] if c.isalpha()][:_SCRIPT_LETTERS]
    found = Counter(unicodedata.name(c, "UNKNOWN").split(" ")[0].split("-")[0] for c in letters)
    kana = found["HIRAGANA"] + found["KATAKANA"]
    if kana and (kana + found["CJK"]) * 2 > len(letters):
        return "japanese"
    name = found.most_common(1)[0][0] if found else ""
    return _EASTERN.get(name, name).lower()


def traits_of(shape: RequestShape) -> dict[tuple[str, str], str]:
    """(name, value) of everything that the request is → the ladder that it is a step of, or none."""
    found = {("longer than", str(n)): "length" for n in LENGTHS if shape.characters > n}
    if shape.characters < SHORT:
        found["shorter than", str(SHORT)] = ""
    found |= {("digits in a row", str(n)): "digits" for n in DIGITS if shape.longest_digits >= n}
    if shape.lines >= LINES:
        found["lines", str(LINES)] = ""
    for name in ("attachment", "code", "link", "email", "data"):
        if getattr(shape, name):
            found["with", name] = ""
    if shape.language:
        found["language", shape.language] = ""
    elif shape.script:
        found["script", shape.script] = ""
    return found
