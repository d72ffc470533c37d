"""`make bench`, or `python -m bench NAME`: prints figures and writes them to bench/results/NAME.json."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
DATA = ROOT.parent / "shared" / "data"


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.pass_context
def main(context: click.Context) -> None:
    """Benchmarks. Without a name all of them run."""
    if context.invoked_subcommand is None:
        for command in (dialects, digests):
            click.echo(f"\n{command.name}")
            context.invoke(command)


data_option = click.option("--data", type=click.Path(path_type=Path, file_okay=False), default=DATA)


@main.command()
@data_option
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
def dialects(data: Path, rounds: int) -> None:
    """What it costs to read spans."""
    from bench import dialects as bench

    result = bench.bench(data, rounds)
    click.echo(bench.report(result))
    save("dialects", result)


@main.command()
@data_option
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True, help="Of splits.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Of timing.")
def digests(data: Path, repeats: int, rounds: int) -> None:
    """What a digest keeps of a run, and what it costs."""
    from bench import digests as bench
    from bench.loaders import available

    if not available(data):
        click.echo(f"skipped: the real runs are not in {data}")
        return
    result = bench.bench(data, repeats, rounds)
    click.echo(bench.report(result))
    save("digests", result)


def save(name: str, result: dict[str, Any]) -> None:
    """The figures with what they were measured on."""
    RESULTS.mkdir(exist_ok=True)
    machine = {"python": platform.python_version(), "machine": platform.machine()}
    (RESULTS / f"{name}.json").write_text(json.dumps(machine | result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
