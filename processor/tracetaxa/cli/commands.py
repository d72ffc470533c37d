"""The commands, one module each or a family.

A module is imported for every `--help`, so what a command needs to work is imported when it runs.
"""

from __future__ import annotations

import click

from tracetaxa import __version__
from tracetaxa.cli.analyze import analyze
from tracetaxa.cli.demo import demo
from tracetaxa.cli.import_chats import import_
from tracetaxa.cli.label import label
from tracetaxa.cli.output import WIDTH
from tracetaxa.cli.query import query
from tracetaxa.cli.report import report
from tracetaxa.cli.serve import serve
from tracetaxa.cli.trace import trace
from tracetaxa.cli.upkeep import backfill, check, migrate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDTH})
@click.version_option(__version__, prog_name="tracetaxa")
def cli() -> None:
    """Discover what your LLM agents do: categories found in their traces, a label on every trace."""


for _command in (analyze, backfill, check, demo, import_, label, migrate, query, report, serve, trace):
    cli.add_command(_command)
