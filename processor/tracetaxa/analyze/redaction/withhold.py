"""What a report shows of single traces only where enough people stand behind a category.

k-anonymity's idea (Sweeney 2002): an example or a quote from a category of one user's traces is about that
user, whatever was redacted. Taken out of the document itself, so that no rendering has it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from tracetaxa.analyze.results.aggregate import with_verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from tracetaxa.analyze.results.aggregate import Labelled
    from tracetaxa.records import TraceRow

UNKNOWN = ""
"""Whose trace it is when it names neither user nor session: all such traces count as one person's."""

NOBODY_IS_NAMED = (
    "No example is shown, and no attribute in free text: privacy.min_users counts users or sessions, and no "
    "trace of the sample names one."
)
"""Key point of a report from traffic that can't be counted so."""

SINGLE = "trace_id"
"""Whatever a document says with this key is about one trace (or session)."""


def person_of(row: TraceRow) -> str:
    """Whose trace it is, before redaction makes all of them alike."""
    if row.user_id:
        return f"user {row.user_id}"
    return f"session {row.session_id}" if row.session_id else UNKNOWN


def withhold(
    document: dict[str, Any],
    labelled: Sequence[Labelled],
    people: Mapping[str, str],
    min_users: int,
    free_text: Collection[str] = (),
) -> None:
    """Takes examples out of every category and subcategory of `document` that has fewer than `min_users`.

    `people` are the persons by trace id. Such a category then says why in `withheld`, a sentence; what else
    in the document is about one of its traces goes too. Where no trace names anybody, a key point says that
    all are withheld, and why. Of the extracted attributes called `free_text`, whose
    values are as good as quotes, a category keeps those that so many have in common.
    """
    if min_users <= 1:
        return
    users: dict[str, set[str]] = defaultdict(set)
    saying: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    verdicts = with_verdict(labelled)
    for label in verdicts:
        person = people[label.trace.row.trace_id]
        for category in _places(label):
            users[category].add(person)
            for name, value in label.assignment.attributes.items():
                saying[category, name, value].add(person)
    hidden = {
        label.trace.row.trace_id
        for label in verdicts
        if any(len(users[category]) < min_users for category in _places(label))
    }
    for node in _categories(document.get("categories", ())):
        identity = node["category_id"]
        if len(users[identity]) < min_users:
            node["withheld"] = _why(users[identity], min_users)
        for name in set(free_text) & set(node["attributes"]):
            values = node["attributes"][name]
            node["attributes"][name] = {
                value: share
                for value, share in values.items()
                if len(saying[identity, name, value]) >= min_users
            }
    if verdicts and not any(people[label.trace.row.trace_id] for label in verdicts):
        document.setdefault("key_points", []).append(NOBODY_IS_NAMED)
    cleaned = _without(document, hidden)
    document.clear()
    document.update(cleaned)


def _places(label: Labelled) -> tuple[str, ...]:
    verdict = label.assignment
    return tuple(filter(None, (verdict.category_id, verdict.subcategory_id)))


def _categories(categories: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    for category in categories:
        yield category
        yield from category.get("subcategories", ())


def _why(people_behind: Collection[str], min_users: int) -> str:
    count = len(people_behind)
    if set(people_behind) == {UNKNOWN}:
        return (
            "Examples are withheld: these traces name neither user nor session, and privacy.min_users asks "
            f"for {min_users} of them."
        )
    people = f"{count} user{'' if count == 1 else 's'} or session{'' if count == 1 else 's'}"
    return f"Examples are withheld: they are of {people}, and privacy.min_users asks for {min_users}."


def _without(value: Any, trace_ids: set[str]) -> Any:
    """`value` without the entries of lists that are about one of the traces, or name one."""
    if isinstance(value, dict):
        return {key: _without(part, trace_ids) for key, part in value.items()}
    if isinstance(value, list):
        return [_without(part, trace_ids) for part in value if not _about(part, trace_ids)]
    return value


def _about(part: Any, trace_ids: set[str]) -> bool:
    if isinstance(part, dict):
        return part.get(SINGLE) in trace_ids
    return isinstance(part, str) and any(trace_id in part for trace_id in trace_ids)
