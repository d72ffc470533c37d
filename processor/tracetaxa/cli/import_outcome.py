"""What both imports, of chats and of feedback, read from the command line and tell at the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Collection


def chosen_columns(columns: tuple[str, ...], fields: Collection[str]) -> dict[str, str]:
    """`FIELD=NAME` options as field → name of its column. Raises click.UsageError."""
    chosen: dict[str, str] = {}
    for column in columns:
        field, _, name = column.partition("=")
        if not name:
            raise click.UsageError(f"--column {column}: write FIELD=NAME, such as conversation=thread_id")
        if field not in fields:
            raise click.UsageError(f"--column {column}: {field!r} is none of {', '.join(fields)}")
        chosen[field] = name
    return chosen


def print_outcome(result: dict[str, Any], done: str, form: str) -> None:
    """The result on standard output; as text, its problems on standard error before it."""
    if form == "json":
        click.echo(json.dumps(result, ensure_ascii=False))
        return
    for problem in result["problems"]:
        place = f"{problem['file']}:{problem['line']}" if problem["line"] else problem["file"]
        text = f"{place}: {problem['reason']}"
        click.echo("".join(char if char.isprintable() else "\ufffd" for char in text), err=True)
    more = result["bad"] + result["refused"] - len(result["problems"])
    if more > 0:
        click.echo(f"and {more} more; --show-problems tells more of them", err=True)
    click.echo(f"{done} from {result['read']} rows; {result['bad']} bad, {result['refused']} refused")
