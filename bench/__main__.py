"""`make bench`, or `python -m bench NAME`: prints figures and writes them to bench/results/NAME.json."""

from __future__ import annotations

import json
import platform
import tempfile
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
        for command in (dialects, digests, cost, assembly):
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


@main.command()
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--spans", type=click.IntRange(min=10_000), default=100_000, show_default=True, help="A round.")
@click.option(
    "--senders", type=click.IntRange(min=1), default=64, show_default=True, help="At the same time."
)
@click.option("--rows", type=click.IntRange(min=500), default=10_000, show_default=True, help="An insert.")
@click.option("--paced-seconds", type=float, default=10, show_default=True, help="At 60 % of the top rate.")
@click.option("--rotel", type=click.Path(path_type=Path, exists=True), help="Its binary, rotel-agent.")
@click.option(
    "--soak", type=float, metavar="SECONDS", help="Only memory, at 60 % of the top rate for so long."
)
def ingest(
    rounds: int,
    spans: int,
    senders: int,
    rows: int,
    paced_seconds: float,
    rotel: Path | None,
    soak: float | None,
) -> None:
    """What it costs to store spans, beside Rotel and the database alone."""
    from bench import ingest as bench

    if soak:
        soaked = bench.soak(soak, senders, rows, click.echo)
        click.echo(bench.report_soak(soaked))
        save("ingest_soak", soaked)
        return
    result = bench.bench(rounds, spans, senders, rows, rotel, paced_seconds, click.echo)
    click.echo(bench.report(result))
    save("ingest", result)


@main.command()
@click.option(
    "--rate",
    "rates",
    multiple=True,
    type=click.IntRange(min=1),
    default=(500, 350, 250, 150, 75),
    show_default=True,
    help="Traces of ten spans a second; the next lower one is tried where one is too fast.",
)
@click.option("--seconds", type=float, default=30, show_default=True, help="At each rate.")
def live(rates: tuple[int, ...], seconds: float) -> None:
    """How soon a trace that closed is labelled and forwarded."""
    from bench import live as bench

    result = bench.bench(sorted(rates, reverse=True), seconds, click.echo)
    click.echo(bench.report(result))
    save("live", result)


@main.command()
@click.option("--traces", type=click.IntRange(min=10_000), default=1_000_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=9, show_default=True)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the database there, or measure the one that is there; 1 GB for a million traces.",
)
def assembly(traces: int, rounds: int, directory: Path | None) -> None:
    """What it costs to find closed traces and to look one up, beside ten million spans."""
    from bench import assembly as bench

    with tempfile.TemporaryDirectory() as scratch:
        result = bench.bench(directory or Path(scratch) / "store", traces, rounds)
    click.echo(bench.report(result))
    save("assembly", result)


@main.command()
@data_option
@click.option("--engine", type=click.Choice(["local", "openai"]), default="local", show_default=True)
@click.option("--base-url", metavar="URL", help="An OpenAI-compatible endpoint; the key is OPENAI_API_KEY.")
@click.option("--model", metavar="NAME", help="For both passes.")
@click.option("--effort", default="none", show_default=True, help="Its reasoning effort.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option(
    "--first-seed",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Thresholds of the local engine were chosen on seeds below 100.",
)
@click.option("--traces", type=click.IntRange(min=50), default=2000, show_default=True, help="Of a case.")
@click.option(
    "--case", "chosen", multiple=True, type=click.Choice(["flat", "two-level", "skewed", "tau", "demo"])
)
@click.option("--words", is_flag=True, help="With word statistics in the place of the sentence model.")
@click.option("--baselines/--no-baselines", default=True, show_default=True)
def quality(
    data: Path,
    engine: str,
    base_url: str | None,
    model: str | None,
    effort: str,
    seeds: int,
    first_seed: int,
    traces: int,
    chosen: tuple[str, ...],
    words: bool,
    baselines: bool,
) -> None:
    """How well an engine finds kinds that are known, beside baselines."""
    from bench import quality as bench
    from bench.quality_engines import cases, engine_maker

    make, name = engine_maker(engine, base_url, model, effort, words)
    wanted = cases(data, chosen, range(first_seed, first_seed + seeds), traces, click.echo)
    result = bench.bench(
        wanted, make, words=words, with_baselines=baselines, repeat=engine == "local", tell=click.echo
    )
    result = {"engine": name, "first_seed": first_seed, "seeds": seeds} | result
    click.echo(bench.report(result))
    save(f"quality_{engine}{'_words' if words else ''}", result)


@main.command()
@data_option
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
def redaction(data: Path, rounds: int) -> None:
    """What redaction costs."""
    from bench import redaction as bench
    from bench.loaders import available

    if not available(data):
        click.echo(f"skipped: the real runs are not in {data}")
        return
    result = bench.bench(data, rounds)
    click.echo(bench.report(result))
    save("redaction", result)


@main.command()
@data_option
@click.option(
    "--traces", type=click.IntRange(min=0, max=10_000), default=2000, show_default=True, help="For overhead."
)
def cost(data: Path, traces: int) -> None:
    """What a run by models costs beside its quote, and what tracetaxa adds to their time."""
    from bench import cost as bench
    from bench.loaders import available

    if not available(data):
        click.echo(f"skipped: the real runs are not in {data}")
        return
    result = bench.bench(data, traces)
    click.echo(bench.report(result))
    save("cost", result)


@main.command()
@data_option
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--labels", type=click.IntRange(min=100), default=1000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Of timing.")
@click.option("--embeddings/--words", default=True, show_default=True, help="Both, or words alone.")
def labels(data: Path, seeds: int, labels: int, rounds: int, embeddings: bool) -> None:
    """How right the classifier is that learns from a run's labels, and what it costs."""
    from bench import labels as bench

    if not (data / "clinc150").exists():
        click.echo(f"skipped: CLINC150 is not in {data}")
        return
    result = bench.bench(data, seeds, labels, rounds, embeddings, click.echo)
    click.echo(bench.report(result))
    save("labels", result)


@main.command("write_back")
@click.option("--spans", type=click.IntRange(min=10_000), default=2_000_000, show_default=True)
@click.option("--labels", type=click.IntRange(min=100), default=10_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=9, show_default=True)
def write_back(spans: int, labels: int, rounds: int) -> None:
    """What labels in the spans themselves cost, and whether they are right."""
    from bench import write_back as bench

    with tempfile.TemporaryDirectory() as scratch:
        result = bench.bench(Path(scratch) / "store", spans // bench.SPANS_PER_TRACE, labels, rounds)
    click.echo(bench.report(result))
    save("write_back", result)


def save(name: str, result: dict[str, Any]) -> None:
    """The figures with what they were measured on."""
    RESULTS.mkdir(exist_ok=True)
    machine = {"python": platform.python_version(), "machine": platform.machine()}
    (RESULTS / f"{name}.json").write_text(json.dumps(machine | result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
