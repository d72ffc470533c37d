"""Names and ids of categories: short, distinct, and never a catch-all."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa.analyze.untrusted import injection
from tracetaxa.analyze.untrusted.fence import neutralise
from tracetaxa.records import OTHER, Category

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NAME_CHARS = 60
DESCRIPTION_CHARS = 400
_SLUG_CHARS = 40

_CATCH_ALL = re.compile(
    r"(?:(?:all |any )?others?|misc(?:ellaneous)?|various|everything else|catch[- ]?all)\b.*"
    r"|(?:uncategori[sz]ed|unclassified)\b.*"
    r"|(?:none|n/?a|unknown|unclear|unspecified|general|mixed|default|rest)"
    r"|(?:general|mixed|unclear|unspecified|different) "
    r"(?:inquir|enquir|question|request|issue|topic|support|help|assist|conversation|quer|task|categor|case)\w*.*",
    re.IGNORECASE,
)

OTHER_CATEGORY = Category(OTHER, "Other", "Fits no other category.")


@dataclass(frozen=True, slots=True)
class Named:
    """A category as a model proposed it: no id yet."""

    name: str
    description: str


def clean_name(text: str) -> str:
    """One plain line of at most `NAME_CHARS`."""
    name = re.sub(r'[<>"{}\[\]|\\^]+', " ", neutralise(text))
    name = " ".join(name.split()).strip(" .,:;-–—'`*#_")
    return _cut(name, NAME_CHARS)


def clean_description(text: str) -> str:
    """One plain line of at most `DESCRIPTION_CHARS`."""
    return _cut(" ".join(re.sub(r"[<>]+", " ", neutralise(text)).split()), DESCRIPTION_CHARS)


def is_catch_all(name: str) -> bool:
    """Whether a name says nothing about its members ('Other', 'General questions')."""
    return _CATCH_ALL.fullmatch(name.strip()) is not None


def usable(name: str) -> bool:
    """Whether a clean name can stand in a report: it says something, and only what a category is."""
    return bool(name) and not is_catch_all(name) and not injection.unfit(name)


def usable_description(text: str) -> str:
    """The text on one plain line; empty when it is no description but speaks to its reader."""
    return "" if injection.unfit(text) else clean_description(text)


def distinct(proposals: Iterable[Named], taken: Iterable[str] = ()) -> list[Named]:
    """The proposals worth keeping: cleaned, usable, and without names met before, case apart."""
    seen = {_fold(name) for name in taken}
    kept = []
    for proposal in proposals:
        name = clean_name(proposal.name)
        if not usable(name) or injection.unfit(proposal.name) or _fold(name) in seen:
            continue
        seen.add(_fold(name))
        kept.append(Named(name, usable_description(proposal.description)))
    return kept


def same_name(one: str, other: str) -> bool:
    return _fold(one) == _fold(other)


def identify(
    names: Sequence[str], used: set[str], parent_id: str = "", known: Iterable[Category] = ()
) -> list[str]:
    """An id for each name: a slug, below a parent `<parent>__<slug>`; adds them to `used`.

    A name that a category of `known` has under the same parent gets that one's id.
    """
    earlier = {_fold(c.name): c.category_id for c in known if c.parent_id == parent_id}
    ids = []
    for name in names:
        stem = earlier.get(_fold(name)) or (f"{parent_id}__{slug(name)}" if parent_id else slug(name))
        identity, n = stem, 2
        while identity in used:
            identity, n = f"{stem}_{n}", n + 1
        used.add(identity)
        ids.append(identity)
    return ids


def slug(name: str) -> str:
    """Matches ^[a-z][a-z0-9_]*$; 'category' for a name without a Latin letter or digit."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    text = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:_SLUG_CHARS].rstrip("_")
    if not text:
        return "category"
    return text if text[0].isalpha() else f"c_{text}"


def _fold(name: str) -> str:
    return " ".join(re.findall(r"\w+", name.casefold()))


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    head = text[:limit].rpartition(" ")[0]
    return (head if len(head) > limit // 2 else text[:limit]).rstrip(" .,:;-")
