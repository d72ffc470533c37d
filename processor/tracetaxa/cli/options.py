"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

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

        return command(load(config_path), **arguments)

    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    run.__click_params__ = [*getattr(command, "__click_params__", []), *run.__click_params__]  # type: ignore[attr-defined]
    return run


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
