"""What a group of traces is called, by the words that set it apart from its siblings.

A term counts once a trace, however often it is said, and scores its share in the group times how much more
common it is there than among all groups: class-based TF-IDF (Grootendorst 2022) on shares of traces.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from tracetaxa.analyze.local.represent import Lines, sentence_spans
from tracetaxa.analyze.naming import clean_description, clean_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Term = tuple[str, ...]
"""Stems of one word, or of two that stand near each other, in the order of the alphabet."""

QUOTE_CHARS = 160
_EXAMPLE_CHARS = 140
_MIN_SHARE = 0.02
_FAR_LESS = 0.75
_FLOOR = 0.02
"""Share that a term is assumed to have everywhere: keeps rare words from looking telling."""
_TALK = """
    hi hello hey dear sir madam team thanks thank please cheers regards kind best morning afternoon
    evening day ok okay yes sure ta lovely appreciate sorry help helping need needs want wants wanted
    like liked know knows think tell told say says said ask asked asking let lets got getting gets give
    given go goes going gone come comes came make makes made see seen look looking looks try tried
    trying use using used way thing things something anything nothing someone really just also still
    already now then today soon time times able im ive id ill youre youve youll dont doesnt didnt cant
    couldnt wont wouldnt isnt arent wasnt havent hasnt whats thats theres hes shes theyre weve were lot
    bit maybe actually right well good great happy hope hoping happen happens happened new old one two
    three first last next much does did doing done having being us many any some user users assistant
    agent customer customers people unfortunately afraid
"""
"""Common in requests of any kind, beside the usual stop words."""
_GAP = 2
"""Words that may stand between the two of a pair: "declined" and "card" in "declined my new card"."""
_DETERMINERS = frozenset(["a", "an", "the", "my", "your", "our", "his", "her", "its", "their", "this", "new"])
"""Left out between the words of a pair: names need no "my"."""
_CONNECTORS = _DETERMINERS | frozenset(
    ["of", "to", "for", "in", "on", "from", "with", "without", "at", "by", "was", "is", "not", "never", "be"]
)
"""What may stand between them; other words begin another thought."""
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_NOT_DONE = re.compile(
    r"\b(?:unfortunately|unable|afraid|impossible|failed|rejected|denied|cannot|can['’]?t|couldn['’]?t|"
    r"could not|"
    r"(?:not|isn['’]?t|wasn['’]?t) (?:able|possible|allowed|available)|too late|no longer)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Passage:
    """A sentence of a trace, as a source of words. `weight` is at most 1."""

    text: str
    weight: float = 1.0


@cache
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS) | frozenset(_TALK.split())


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    """One key for the forms of an English word; other languages keep their words nearly whole."""
    word = word.casefold().replace("’", "'").removesuffix("'s").replace("'", "")
    for suffix, instead in (("ies", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", "")):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not word.endswith("ss"):
            word = word.removesuffix(suffix) + instead
            break
    if len(word) > 4 and word[-1] == word[-2]:
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


@lru_cache(maxsize=50_000)
def terms(text: str) -> tuple[tuple[Term, str], ...]:
    """Every telling word, and pairs of them with at most `_GAP` other words in between, as they are written.

    "I lost my luggage" has "lost", "luggage" and "lost luggage"; "the meaning of life" has "meaning of life".
    """
    found: list[tuple[Term, str]] = []
    before: str | None = None
    between: list[str] = []
    end = 0
    for match in _WORD.finditer(text):
        word = match[0]
        # Near means that nothing but spaces and words lies between.
        if text[end : match.start()] != " ":
            before = None
        end = match.end()
        plain = word.casefold().replace("’", "'")
        if len(plain) < 2 or "'" in plain or plain in _stop_words():
            between.append(plain)
            if len(between) > _GAP or plain not in _CONNECTORS:
                before = None
            continue
        found.append(((stem(word),), word))
        if before is not None:
            pair = tuple(sorted((stem(before), stem(word))))
            joined = [w for w in between if w not in _DETERMINERS]
            if pair[0] != pair[1] and len(joined) <= 1:
                found.append((pair, " ".join((before, *joined, word))))
        before, between = word, []
    return tuple(found)


class Vocabulary:
    """The terms of groups that stand beside each other.

    `groups` holds, for each group, the passages of each of its traces.
    """

    def __init__(self, groups: Sequence[Sequence[Sequence[Passage]]]) -> None:
        self._forms: dict[Term, Counter[str]] = {}
        self._shares = [self._count(traces) for traces in groups]
        self._scores = [self._score(shares, len(groups[i])) for i, shares in enumerate(self._shares)]

    def _count(self, traces: Sequence[Sequence[Passage]]) -> dict[Term, float]:
        total: Counter[Term] = Counter()
        for passages in traces:
            strongest: dict[Term, float] = {}
            for passage in passages:
                for term, form in terms(passage.text):
                    strongest[term] = max(strongest.get(term, 0.0), passage.weight)
                    self._forms.setdefault(term, Counter())[form] += 1
            for term, weight in strongest.items():
                total[term] += weight  # type: ignore[assignment]
        return {term: count / max(len(traces), 1) for term, count in total.items()}

    def _score(self, shares: Mapping[Term, float], traces: int) -> dict[Term, float]:
        least = max(_MIN_SHARE, 1.5 / traces) if traces > 3 else 0.0
        scores = {}
        for term, share in shares.items():
            if share < least or self._is_name(term, share):
                continue
            everywhere = sum(other.get(term, 0.0) for other in self._shares) / len(self._shares)
            # With no siblings to differ from, what is common is what it is about.
            contrast = math.log((share + _FLOOR) / (everywhere + _FLOOR)) if len(self._shares) > 1 else 1.0
            if contrast > 0:
                scores[term] = share * contrast * (1.3 if len(term) == 2 else 1.0)
        return scores

    def _is_name(self, term: Term, share: float) -> bool:
        """Whether a term looks like a name, of a person, street or firm: mostly with capitals, in few traces.

        One word may stand at the beginning of a sentence; two words with capitals hardly do.
        """
        forms = self._forms[term]
        capital = sum(count for form, count in forms.items() if all(_is_capital(w) for w in form.split()))
        least = 0.95 if len(term) == 1 else 0.5
        return share < 0.5 and forms.total() > 3 and capital >= least * forms.total()

    def scores(self, group: int) -> Mapping[Term, float]:
        return self._scores[group]

    def ranked(self, group: int, most: int = 12) -> list[str]:
        """The group's most telling terms as people write them, best first, no word twice."""
        return [self._written(term) for term in self._chosen(group, most)]

    def says_enough(self, group: int) -> bool:
        """Whether the most telling term is a pair, and the next one says far less."""
        chosen, scores = self._chosen(group, 2), self._scores[group]
        if not chosen or len(chosen[0]) < 2:
            return False
        return len(chosen) < 2 or scores[chosen[1]] < _FAR_LESS * scores[chosen[0]]

    def _chosen(self, group: int, most: int) -> list[Term]:
        scores = self._scores[group]
        ranked = sorted(scores, key=lambda term: (-scores[term], term))
        chosen: list[Term] = []
        for term in ranked:
            if any(set(term) & set(other) for other in chosen):
                continue
            # 'address' reads better as 'delivery address' where that is what most of them say.
            longer = [
                t for t in ranked if len(t) == 2 and set(term) < set(t) and scores[t] > 0.45 * scores[term]
            ]
            longer = [t for t in longer if not any(set(t) & set(other) for other in chosen)]
            chosen.append(longer[0] if longer else term)
            if len(chosen) == most:
                break
        return chosen

    def _written(self, term: Term) -> str:
        forms: Counter[str] = Counter()
        for form, count in self._forms[term].items():
            forms[form if form.isupper() and len(form) > 1 else form.lower()] += count
        return min(forms, key=lambda form: (-forms[form], len(form), form))


def name_groups(
    vocabulary: Vocabulary,
    groups: Iterable[int],
    examples: Mapping[int, str],
    marks: Mapping[int, str],
    taken: Iterable[str] = (),
) -> list[str]:
    """A distinct name for every group: its two best terms, or a pair that says it all; its mark in brackets.

    A group without telling terms is called by the first words of its example.
    """
    used = {name.casefold() for name in taken}
    names = []
    for group in groups:
        ranked = vocabulary.ranked(group)
        choices = [f"{ranked[0]}, {second}" for second in ranked[1:]] or ranked[:1]
        if vocabulary.says_enough(group):
            choices.insert(0, ranked[0])
        choices.append(" ".join(_WORD.findall(examples[group])[:4]) or "group")
        choices += [f"{choices[-1]} {number}" for number in range(2, len(used) + 3)]
        mark = f" ({marks[group]})" if group in marks else ""
        tries = (clean_name(choice[:1].upper() + choice[1:] + mark) for choice in choices)
        name = next(name for name in tries if name and name.casefold() not in used)
        used.add(name.casefold())
        names.append(name)
    return names


def describe(terms: Sequence[str], example: str, *, lead: str) -> str:
    """One sentence: `lead` the terms, and an example's own words."""
    about = _listed(terms)
    sentence = f"{lead} about {about}" if about else lead
    example = " ".join(example.split())
    if len(example) > _EXAMPLE_CHARS:
        example = example[:_EXAMPLE_CHARS].rpartition(" ")[0] + "…"
    return clean_description(f"{sentence}, for example: “{example}”." if example else f"{sentence}.")


def quote(lines: Lines, scores: Mapping[Term, float]) -> tuple[str, str]:
    """The most typical sentence of a trace, verbatim and at most `QUOTE_CHARS` long, and its span's id."""
    best, found = -1.0, ("", "")
    for kind, text, span_id in lines:
        if kind == "cut":
            continue
        for start, end in sentence_spans(text):
            piece = _cut(text[start:end].strip())
            if not _WORD.search(piece):
                continue
            worth = typical(piece, scores) * (0.5 if kind in ("tool", "facts") else 1.0)
            if worth > best:
                best, found = worth, (piece, span_id)
    return found


def typical(text: str, scores: Mapping[Term, float]) -> float:
    """How much of what sets a group apart `text` says, for its length."""
    # A set's order differs between processes; `fsum` gives the same total in any.
    told = math.fsum(scores.get(term, 0.0) for term in {term for term, _ in terms(text)})
    return told / (1 + len(text) / QUOTE_CHARS)


def not_done(text: str) -> bool:
    """Whether an answer reads like one that could not do what was asked (English only)."""
    return _NOT_DONE.search(text) is not None


def _cut(text: str) -> str:
    if len(text) <= QUOTE_CHARS:
        return text
    head = text[:QUOTE_CHARS].rpartition(" ")[0]
    return head if len(head) > QUOTE_CHARS // 2 else text[:QUOTE_CHARS]


def _is_capital(word: str) -> bool:
    return word[:1].isupper() and word[1:].islower()


def _listed(items: Sequence[str]) -> str:
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"
