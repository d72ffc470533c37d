"""Options that several commands have."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

_OUR_COMMAND = re.compile(
    r"\btracetaxa (?:analyze|backfill|check|import|label|migrate|query|report|serve|trace)\b"
)
SEED = click.IntRange(0, 2**32 - 1)
ENGINE = click.Choice(["auto", "openai", "local"])


def with_config(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --config; the command gets the loaded configuration first."""

    @click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Configuration file (default: tracetaxa.yaml, then built-in values).",
    )
    def run(config_path: Path | None, **arguments: Any) -> Any:
        from tracetaxa.config import load
        from tracetaxa.errors import TracetaxaError

        try:
            return command(load(config_path), **arguments)
        except TracetaxaError as error:
            error.args = (with_same_config(str(error)), *error.args[1:])
            raise

    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    run.__click_params__ = [*getattr(command, "__click_params__", []), *run.__click_params__]  # type: ignore[attr-defined]
    return run


def same_config() -> str:
    """The configuration file that this command was given; empty when it was given none."""
    path = click.get_current_context().params.get("config_path")
    return str(path) if path is not None else ""


def with_same_config(text: str) -> str:
    """A message whose commands, such as `tracetaxa serve`, read the configuration that this one was given."""
    path = same_config()
    return _OUR_COMMAND.sub(lambda found: f"{found[0]} --config {shlex.quote(path)}", text) if path else text


def with_window(length: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds --from, --to and --window as `start`, `end` and `window`; `length` is the help of the last."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option("--window", metavar="DURATION", help=length)(command)
        command = click.option("--to", "end", metavar="RFC3339", help="End of the window (default: now).")(
            command
        )
        return click.option("--from", "start", metavar="RFC3339", help="Start of the window.")(command)

    return add


def with_format(*formats: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds --format as `form`; the first is the default."""
    return click.option("--format", "form", type=click.Choice(formats), default=formats[0])
