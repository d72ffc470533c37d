"""Rows of feedback out of JSON, JSON lines or CSV: what a piece of feedback is, others decide."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tracetaxa.errors import ConfigError
from tracetaxa.imports.json_values import json_values, looks_like_lines
from tracetaxa.imports.rows import BadLine, BadRow, Problem
from tracetaxa.imports.table import csv_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tracetaxa.imports.source import Source
    from tracetaxa.records import Feedback

FIELDS = {
    "traceparent": ("traceparent",),
    "trace_id": ("trace_id", "traceid"),
    "span_id": ("span_id", "spanid"),
    "session_id": ("session_id", "sessionid", "conversation_id", "thread_id"),
    "name": ("name", "key", "metric"),
    "score": ("score", "value", "rating"),
    "label": ("label",),
    "comment": ("comment", "explanation", "reason"),
    "annotator": ("annotator", "annotator_kind"),
    "user": ("user", "user_id"),
    "id": ("id", "feedback_id"),
    "time": ("time", "timestamp", "created_at"),
}
"""Fields of docs/feedback.md, and the column names by which they are known in CSV."""


def read_feedback(
    source: Source, chosen: Mapping[str, str]
) -> Iterator[tuple[int, dict[str, Any]] | BadLine]:
    """Line number and fields of each row. Raises ConfigError for a chosen column that is not there.

    A score in words (thumbs_up, pass, no) is a label: its score follows from it.
    """
    if source.head.lstrip("\ufeff \t\r\n")[:1] in ("{", "["):
        rows = _of_json(source)
    else:
        rows = _of_csv(source, chosen)
    for row in rows:
        yield row if isinstance(row, BadLine) else (row[0], _with_label(row[1]))


def _of_json(source: Source) -> Iterator[tuple[int, dict[str, Any]] | BadLine]:
    for value in json_values(source, lines=looks_like_lines(source.head, source.name)):
        if isinstance(value, BadLine):
            yield value
            continue
        held = value.data.get("feedback") if isinstance(value.data, dict) else None
        items = (
            held if isinstance(held, list) else value.data if isinstance(value.data, list) else [value.data]
        )
        for item in items:
            yield (value.line, item) if isinstance(item, dict) else BadLine(value.line, "not an object")


def _of_csv(source: Source, chosen: Mapping[str, str]) -> Iterator[tuple[int, dict[str, Any]] | BadLine]:
    rows = csv_rows(source)
    line, header = next(rows, (0, BadRow("the file is empty")))
    if isinstance(header, BadRow):
        yield BadLine(line, str(header))
        return
    header = [name.strip() for name in header]
    for what, column in chosen.items():
        if column not in header:
            raise ConfigError(
                f"--column {what}={column}: there is no such column; the file has {', '.join(header)}"
            )
    known = {name.lower().replace(" ", "_"): place for place, name in reversed(list(enumerate(header)))}
    places = {what: header.index(column) for what, column in chosen.items()}
    for what, names in FIELDS.items():
        place = next((known[name] for name in names if name in known), None)
        if place is not None and place not in places.values():
            places.setdefault(what, place)
    for line, cells in rows:
        if isinstance(cells, BadRow):
            yield BadLine(line, str(cells))
        elif len(cells) != len(header):
            yield BadLine(line, f"it has {len(cells)} cells, the header {len(header)}")
        else:
            yield line, {what: cells[place] for what, place in places.items() if cells[place].strip()}


def _with_label(item: dict[str, Any]) -> dict[str, Any]:
    score = item.get("score")
    if not isinstance(score, str) or item.get("label"):
        return item
    try:
        float(score)
    except ValueError:
        return {key: value for key, value in item.items() if key != "score"} | {"label": score}
    return item


@dataclass(slots=True)
class FeedbackSummary:
    """What became of the rows. `refused` are good ones that the service did not take."""

    files: int = 0
    read: int = 0
    accepted: int = 0
    bad: int = 0
    refused: int = 0
    problems: list[Problem] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def import_feedback(
    sources: Iterable[Source],
    chosen: Mapping[str, str],
    parse: Callable[[Mapping[str, Any]], Feedback],
    store: Callable[[Sequence[tuple[Mapping[str, Any], Feedback]]], Mapping[int, str]],
    *,
    shown_problems: int = 10,
    batch_items: int = 200,
) -> FeedbackSummary:
    """Read and store what is good.

    `parse` makes a piece of feedback of a row's fields, or raises ValueError. `store` gets pairs of fields
    and record, and returns why it refused which of them.
    """
    summary = FeedbackSummary()
    batch: list[tuple[Mapping[str, Any], Feedback]] = []
    places: list[tuple[str, int]] = []

    def problem(file: str, line: int, reason: str) -> None:
        if len(summary.problems) < shown_problems:
            summary.problems.append(Problem(file, line, reason))

    def flush() -> None:
        refused = store(batch) if batch else {}
        for index, reason in refused.items():
            problem(*places[index], reason)
        summary.refused += len(refused)
        summary.accepted += len(batch) - len(refused)
        batch.clear()
        places.clear()

    for source in sources:
        summary.files += 1
        for row in read_feedback(source, chosen):
            summary.read += 1
            line, item = (row.line, row.reason) if isinstance(row, BadLine) else row
            try:
                if isinstance(item, str):
                    raise BadRow(item)
                batch.append((item, parse(item)))
                places.append((source.name, line))
            except ValueError as error:
                summary.bad += 1
                problem(source.name, line, str(error))
            if len(batch) == batch_items:
                flush()
    flush()
    return summary
