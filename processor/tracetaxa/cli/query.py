"""`tracetaxa query`."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from tracetaxa.cli.database import reading
from tracetaxa.cli.options import with_config, with_format
from tracetaxa.cli.output import write_untrusted

if TYPE_CHECKING:
    from tracetaxa.config import Config

FORMATS = {
    "text": "PrettyCompactMonoBlock",
    "json": "JSON",
    "jsonl": "JSONEachRow",
    "csv": "CSVWithNames",
    "tsv": "TSVWithNames",
}
"""ClickHouse's names of them."""


@click.command()
@with_config
@click.argument("sql")
@with_format(*FORMATS)
def query(config: Config, sql: str, form: str) -> None:
    """Run one SELECT on the database, read-only. SQL of `-` is read from standard input."""
    from tracetaxa.store.guard import Guard

    text = sys.stdin.read() if sql == "-" else sql
    if re.search(r"\bFORMAT\s+\w+[\s;]*$", text, re.IGNORECASE):
        raise click.UsageError("leave FORMAT out of the query and use --format")
    with reading(config, "query") as store, store.reader() as client:
        settings = {"output_format_json_quote_64bit_integers": 0}
        if store.dsn.embedded:
            text = Guard(client, store.database).check(text)
        elif not store.through_service:
            settings["readonly"] = 2
        answer = client.raw_query(text, settings=settings, fmt=FORMATS[form])
    write_untrusted(answer)
