"""`tracetaxa demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tracetaxa.cli.options import ENGINE, SEED


@click.command()
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), help="Where to keep the data.")
@click.option("--traces", type=click.IntRange(min=50), default=500, show_default=True)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--engine", type=ENGINE, default="auto", show_default=True)
def demo(directory: Path | None, traces: int, seed: int, engine: str) -> None:
    """Watch it work: a simulated shop agent sends traces, an analysis finds what is in them."""
    from tracetaxa.demo.run import run_demo

    sys.exit(run_demo(directory, traces=traces, seed=seed, engine=engine))
