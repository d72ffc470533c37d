"""What `make demo ARGS="…"` runs: the package's demo, or the same with real agent runs (`--data DIR`)."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bench.loaders import AGENT_RX, TAU2, TAU_BENCH, available, count, real_traffic
from tracetaxa.demo.run import run_demo
from tracetaxa.errors import TracetaxaError


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help=f"Replay the real runs in this directory ({TAU_BENCH}, {AGENT_RX}, {TAU2}) instead of the shop's.",
)
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), help="Where to keep the data.")
@click.option("--traces", type=click.IntRange(min=50), default=500, show_default=True, help="Of the shop.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--engine", type=click.Choice(["auto", "openai", "local"]), default="auto", show_default=True)
def demo(data: Path | None, directory: Path | None, traces: int, seed: int, engine: str) -> None:
    """Watch it work: traces go in over OTLP, categories come out."""
    traffic = None
    if data is not None:
        if not available(data):
            raise click.BadParameter(
                f"{TAU_BENCH}, {AGENT_RX} and {TAU2} are not in {data}", param_hint="--data"
            )
        traffic, traces = real_traffic(data), count(data)
    try:
        sys.exit(run_demo(directory, traces=traces, seed=seed, engine=engine, traffic=traffic))
    except TracetaxaError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    demo()
