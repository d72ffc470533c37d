"""The command line. Results go to standard output, everything else to standard error.

Exit codes: 0 done or nothing to do, 1 failed, 2 wrong usage or configuration, 3 partial, 130 interrupted.
"""

from __future__ import annotations

import sys

import click

from tracetaxa.cli.commands import cli
from tracetaxa.errors import TracetaxaError


def main() -> None:
    """Entry point: errors become one message and an exit code."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        click.echo(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), err=True)
        sys.exit(1)
    except TracetaxaError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
