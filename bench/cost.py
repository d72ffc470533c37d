"""What a run by models costs, and what tracetaxa adds to their time: `python -m bench cost`.

Both through the whole product (embedded store, the `openai` engine, the real client) against a scripted
server that answers from what is known of the traces. Its replies are as long as a model's, drawn at random
within what the prompts ask for: nothing of how a quote guesses them is used.

Tokens: the real agent runs, counted with OpenAI's o200k_base (`pip install bpe-openai`: the vocabulary is in
the package). Prompt caching is as OpenAI does it: leading messages seen before, from 1,024 tokens on. Beside
the bill stand the quote from before the run and the errors of the estimate that the quote counts with.

Overhead: 2,000 traces with a server that answers at once, and with one that takes 500 ms. The second may take
as long as the first and 1.25 times the latency that no run can avoid: for each stage, its calls divided by
`max_concurrency`, rounded up.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from statistics import fmean, quantiles
from typing import TYPE_CHECKING, Any

from bench.loaders import runs
from bench.spans import spans_of
from tracetaxa.analyze.digests.digest import digest
from tracetaxa.assemble.rows import ToRow
from tracetaxa.config import Config
from tracetaxa.demo.traffic import plan
from tracetaxa.dialects import read_trace
from tracetaxa.jobs import RunRequest, quote_request, run_request
from tracetaxa.llm.tokens import TOKENIZER, estimate_tokens
from tracetaxa.service import open_store
from tracetaxa.testing import Oracle, Reply, ScriptedModel, count_tokens, pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tracetaxa.analyze.model.quote import Quote
    from tracetaxa.records import RunRow, Standing, TraceRow
    from tracetaxa.store.database import ClickHouse

NAMED_TOKENIZER = "o200k_base"
DAY_NS = 86_400 * 10**9
LATENCY_SECONDS = 0.5
LONGEST_QUOTE_WORDS = 25
MOST_REASON_WORDS = 20
"""What the assignment prompt allows."""


def available() -> bool:
    return find_spec("bpe_openai") is not None


def tokenizer() -> Callable[[str], int]:
    import bpe_openai

    encoding = bpe_openai.get_encoding(NAMED_TOKENIZER)
    return lambda text: len(encoding.encode(text))


# ---------------------------------------------------------------------------------------- a model


class Talker:
    """An oracle that says as much as a model does: the same for the same request, whenever it comes."""

    def __init__(self, truth: Callable[[str], tuple[str, str] | None], latency_seconds: float = 0.0) -> None:
        self._oracle = Oracle(truth)
        self._latency_seconds = latency_seconds

    def __call__(self, messages: Any, schema: Any) -> Reply:
        said = self._oracle(messages, schema)
        if schema is not None:
            told, chance = pieces(messages), random.Random(str(messages[-1]["content"]))
            for entry in next(iter(said.values())):
                self._spell_out(entry, told, chance)
        return Reply(said, delay_seconds=self._latency_seconds)

    def _spell_out(self, entry: dict[str, Any], told: dict[str, str], chance: random.Random) -> None:
        if "description" in entry:
            entry["description"] = words(chance, 10, 30)
        if "reason" in entry and entry.get("key") in told:
            entry["reason"] = words(chance, 6, MOST_REASON_WORDS)
            entry["evidence"] = some_quote(told[entry["key"]], chance)


TALK = """the customer wants to change a booked flight and asks for a refund because of an earlier delay,
while the agent looks up reservation details, explains what the policy allows, and confirms payment"""


def words(chance: random.Random, least: int, most: int) -> str:
    return " ".join(chance.choice(TALK.split()) for _ in range(chance.randint(least, most)))


def some_quote(piece: str, chance: random.Random) -> str:
    """Four to 25 words in a row of one line that can be quoted."""
    lines = [line.partition(": ")[2].split() for line in piece.splitlines()]
    kinds = [line.partition(": ")[0] for line in piece.splitlines()]
    long = [
        line
        for kind, line in zip(kinds, lines, strict=True)
        if kind in ("user", "assistant", "tool", "error") and len(line) >= 4
    ]
    line = chance.choice(long)
    length = chance.randint(4, min(LONGEST_QUOTE_WORDS, len(line)))
    start = chance.randint(0, len(line) - length)
    return " ".join(line[start : start + length])


# ---------------------------------------------------------------------------------------- traces


def tau_rows(data: Path) -> tuple[list[TraceRow], dict[str, tuple[str, str]]]:
    """The real runs as rows of `traces`, and what each is about by the first of its user's words."""
    to_row = ToRow(digest, lambda usage: None)
    rows, truth = [], {}
    for number, run in enumerate(runs(data)):
        [planned] = plan(run.session)
        row = to_row(read_trace(spans_of(planned, f"{number:032x}")), 1, 0)
        row = replace(row, start_ns=DAY_NS + number, end_ns=DAY_NS + number + 10**9, attributes={})
        rows.append(row)
        domain, actions = run.session.turns[0].truth
        truth[first_words(row)] = (actions.partition("+")[0], f"{domain} {actions}")
    return rows, truth


def many_rows(data: Path, count: int) -> tuple[list[TraceRow], dict[str, tuple[str, str]]]:
    """As many traces of the same size as the real runs, each with a request of its own out of CLINC150."""
    with gzip.open(data / "clinc150" / "data_full.json.gz", "rt", encoding="utf-8") as file:
        asked = sorted(dict(json.load(file)["train"]).items())
    domains = json.loads((data / "clinc150" / "domains.json").read_text("utf-8"))
    domain = {intent: name for name, intents in domains.items() for intent in intents}
    random.Random(0).shuffle(asked)
    templates, _ = tau_rows(data)
    rows, truth = [], {}
    for number, (text, intent) in enumerate(asked[:count]):
        template = templates[number % len(templates)]
        at = template.digest_kinds.index("user")
        texts = tuple(text if i == at else told for i, told in enumerate(template.digest_texts))
        row = replace(template, trace_id=f"{number:032x}", input=text, digest_texts=texts)
        rows.append(replace(row, start_ns=DAY_NS + number))
        truth[first_words(row)] = (domain[intent], f"{domain[intent]} {intent}".replace("_", " "))
    return rows, truth


def first_words(row: TraceRow) -> str:
    return row.digest_texts[row.digest_kinds.index("user")]


def truth_of(known: dict[str, tuple[str, str]]) -> Callable[[str], tuple[str, str] | None]:
    """From the first user line as the model sees it; a rare other wording of it is looked for."""
    spaced = {" ".join(text.split()): kind for text, kind in known.items()}

    def truth(piece: str) -> tuple[str, str] | None:
        said = next((line[6:] for line in piece.splitlines() if line.startswith("user: ")), "")
        kind = spaced.get(" ".join(said.split()))
        return tuple(name.replace("_", " ").replace("+", " and ") for name in kind) if kind else None  # type: ignore[return-value]

    return truth


# ---------------------------------------------------------------------------------------- runs


@contextmanager
def endpoint(model: ScriptedModel) -> Iterator[None]:
    """Inside, the environment names this server."""
    before = {name: os.environ.get(name) for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY")}
    os.environ |= {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "none"}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


async def nothing_open(unit: str) -> int:
    return 0


def configured(directory: Path, database: str, size: int, **llm: Any) -> Config:
    return Config(
        store={"dsn": f"chdb://{directory}", "database": database, "retention_days": 25_000},
        llm={"engine": "openai", **llm},
        analyses=[{"name": "topics", "sample": {"size": size}}],
    )


REQUEST = RunRequest("topics", window_start_ns=0, window_end_ns=3 * DAY_NS)


async def quote_and_run(
    config: Config, store: ClickHouse, rows: Sequence[TraceRow]
) -> tuple[Quote, RunRow, dict[str, float], float]:
    """The quote, the finished run, seconds by what they were for, and the money counted."""
    await store.insert("traces", list(rows))
    started = time.perf_counter()
    quoted = await quote_request(config, store, REQUEST, still_open=nothing_open)
    between, cpu = time.perf_counter(), time.process_time()
    standings: list[Standing] = []

    def watch(stage: str, done: int, total: int, standing: Standing | None = None) -> None:
        if standing is not None:
            standings.append(standing)

    run = await run_request(config, store, REQUEST, still_open=nothing_open, progress=watch)
    seconds = {
        "quote": between - started,
        "run": time.perf_counter() - between,
        "run_cpu": time.process_time() - cpu,
    }
    return quoted.quote, run, seconds, standings[-1].cost_usd or 0.0


def tokens(data: Path, directory: Path) -> dict[str, Any]:
    """The real runs: what the server bills, and what the quote said."""
    count = tokenizer()
    rows, known = tau_rows(data)
    config = configured(directory, "tokens", len(rows))
    store = open_store(config, "bench")
    try:
        with ScriptedModel(Talker(truth_of(known)), tokenizer=count) as model, endpoint(model):
            quote, run, seconds, _ = asyncio.run(quote_and_run(config, store, rows))
            billed = model.usage
            stages = by_model(model, count)
    finally:
        store.close()
    expected, limit = quote.expected, quote.limit
    return {
        "tokenizer": NAMED_TOKENIZER,
        "traces": len(rows),
        "status": run.status,
        "labelled": run.traces_labelled - run.traces_abstained,
        "calls": billed.calls,
        "models": stages,
        "input_tokens_per_trace": billed.input_tokens / len(rows),
        "cached_share": billed.cached_tokens / billed.input_tokens,
        "output_tokens_per_trace": billed.output_tokens / len(rows),
        "usd": run.cost_usd,
        "usd_per_1000_traces": 1000 * (run.cost_usd or 0.0) / len(rows),
        "quote": {
            "calls": expected.calls,
            "input_tokens": expected.input_tokens,
            "output_tokens": expected.output_tokens,
            "usd": expected.usd,
            "most_usd": limit.usd,
            "seconds": seconds["quote"],
            "stages": [
                {"name": s.name, "model": s.model, "calls": s.use.calls, "input_tokens": s.use.input_tokens}
                for s in quote.stages
            ],
        },
        "bill_by_quote": {
            "calls": billed.calls / expected.calls,
            "input_tokens": billed.input_tokens / expected.input_tokens,
            "output_tokens": billed.output_tokens / expected.output_tokens,
            "usd": (run.cost_usd or 0.0) / (expected.usd or 1.0),
            "usd_by_most": (run.cost_usd or 0.0) / (limit.usd or 1.0),
        },
        "estimate_by_tokenizer": estimate_errors([row.digest.text for row in rows], count),
    }


def by_model(model: ScriptedModel, count: Callable[[str], int]) -> dict[str, dict[str, int]]:
    """Calls and input tokens that came, by model and by what was asked for."""
    found: dict[str, dict[str, int]] = {}
    for request in model.requests:
        schema = request.body.get("response_format", {}).get("json_schema", {}).get("schema", {})
        asked = next(iter(schema.get("properties", {})), "text")
        use = found.setdefault(f"{request.body['model']} {asked}", {"calls": 0, "input_tokens": 0})
        use["calls"] += 1
        use["input_tokens"] += sum(count(message["content"]) for message in request.messages)
    return found


def estimate_errors(texts: Sequence[str], count: Callable[[str], int]) -> dict[str, Any]:
    """Estimated ÷ counted tokens."""
    ratios = [estimate_tokens(text) / count(text) for text in texts]
    cuts = quantiles(ratios, n=100)
    return {"estimate": TOKENIZER, "mean": fmean(ratios), "p1": cuts[0], "p99": cuts[-1]}


def overhead(data: Path, directory: Path, traces: int) -> dict[str, Any]:
    """Wall time with a server that answers at once, and with one that does not."""
    rows, known = many_rows(data, traces)
    result: dict[str, Any] = {"traces": traces}
    for name, latency in (("zero_latency", 0.0), ("latency", LATENCY_SECONDS)):
        config = configured(directory, name, traces)
        store = open_store(config, "bench")
        try:
            talker = Talker(truth_of(known), latency)
            with ScriptedModel(talker, tokenizer=count_tokens) as model, endpoint(model):
                quote, run, seconds, _ = asyncio.run(quote_and_run(config, store, rows))
        finally:
            store.close()
        rounds = sum(ceil(stage.use.calls / config.llm.max_concurrency) for stage in quote.stages)
        result[name] = {
            "seconds": seconds["run"],
            "quote_seconds": seconds["quote"],
            "cpu_seconds": seconds["run_cpu"],
            "calls": model.usage.calls,
            "rounds": rounds,
            "labelled": run.traces_labelled - run.traces_abstained,
            "status": run.status,
        }
    allowed = result["zero_latency"]["seconds"] + 1.25 * LATENCY_SECONDS * result["latency"]["rounds"]
    return result | {"latency_seconds": LATENCY_SECONDS, "allowed_seconds": allowed}


def bench(data: Path, traces: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "store"
        return {
            "tokens": tokens(data, directory) if available() else None,
            "overhead": overhead(data, directory, traces) if traces else None,
        }


def report(result: dict[str, Any]) -> str:
    lines = []
    told = result["tokens"]
    if told is None:
        lines.append("tokens: skipped, bpe-openai is not installed")
    else:
        lines += _tokens_report(told)
    took = result["overhead"]
    if took is not None:
        zero, slow = took["zero_latency"], took["latency"]
        ran, quoted, rounds = zero["seconds"], zero["quote_seconds"], slow["rounds"]
        lines.append(
            f"{took['traces']:,} traces by {zero['calls']} calls, without latency: {ran:.1f} s (at most 25)"
        )
        lines.append(
            f"  {zero['cpu_seconds']:.1f} s of CPU, the server's included; a quote of it {quoted:.1f} s"
        )
        allowed, latency = took["allowed_seconds"], took["latency_seconds"] * 1000
        took_slow = f"{slow['seconds']:.1f} s (at most {allowed:.1f}: {rounds} rounds of calls)"
        lines.append(f"  with {latency:.0f} ms: {took_slow}")
    return "\n".join(lines)


def _tokens_report(told: dict[str, Any]) -> list[str]:
    ratio, quote, error = told["bill_by_quote"], told["quote"], told["estimate_by_tokenizer"]
    names = ("usd", "input_tokens", "output_tokens", "calls")
    by = ", ".join(f"{name.replace('_', ' ')} {ratio[name]:.2f}" for name in names)
    runs_told = f"{told['labelled']:,} of {told['traces']:,} real runs labelled ({told['status']})"
    spread = f"1 % to 99 % {error['p1']:.2f} to {error['p99']:.2f}"
    return [
        f"{runs_told} by {told['calls']} calls, counted with {told['tokenizer']}",
        f"  input  {told['input_tokens_per_trace']:6.0f} tokens a trace (at most 1,400)",
        f"         {told['cached_share']:6.0%} of them from the provider's cache",
        f"  output {told['output_tokens_per_trace']:6.0f} tokens a trace (at most 120)",
        f"  cost   ${told['usd']:.3f}: ${told['usd_per_1000_traces']:.2f} for 1,000 traces",
        f"  bill ÷ quote: {by} (0.85 to 1.15)",
        f"  bill ÷ quoted maximum of ${quote['most_usd']:.2f}: {ratio['usd_by_most']:.2f} (at most 1)",
        f"  estimated ÷ counted tokens of a digest: mean {error['mean']:.3f}, {spread}",
        f"  the quote took {quote['seconds']:.1f} s",
    ]
