"""Real agent runs of ../shared/data as planned traffic: tau-bench, AgentRx and tau2-bench, 586 runs.

One run is one trace: the root `invoke_agent`, a `chat` for every assistant message (its input is the history
so far), an `execute_tool` for every tool call with its result, failed where the source says so (tau2 `error`;
otherwise a result that starts with "Error:"). The run's reward is its feedback. Runs keep their order, and
their inner times where the source has them (most of tau2); the others get synthetic ones. Files are read one
at a time and spans are made one trace at a time.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tracetaxa.demo.traffic import (
    HOUR_NS,
    SECOND_NS,
    Answered,
    Call,
    PlannedTrace,
    Said,
    Session,
    Traffic,
    Turn,
    plan,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

TAU_BENCH = "taubench_airline_gpt4o"
AGENT_RX = "agentrx_tau_retail"
TAU2 = "tau2_retail_airline"

_AGENT_RX_FILES = ("tau_dataset_full.json.gz", "tau_dataset_failed_104_105.json.gz")
_TAU2_FILES = (
    "retail_toolorchestra_gpt-5.json.gz",
    "airline_qwen2.5-7b.json.gz",
    "airline_gpt-4.1-ft.json.gz",
    "retail_gpt-4.1-ft.json.gz",
    "retail_gpt-4.1.json.gz",
    "airline_gpt-4.1.json.gz",
)
"""In the order in which they were run."""
_FAILED_ENDS = frozenset({"agent_error", "too_many_errors"})
"""Terminations that are the agent's failure; the others are the customer's end of the conversation."""
_LAST_START_NS = HOUR_NS
"""The last run starts this long before the end: longer than any run takes."""

_CUSTOMER_NS = 4 * SECOND_NS
_MODEL_NS = 1200 * 1_000_000
_MODEL_NS_PER_CHARACTER = 3_000_000
_TOOL_NS = 250 * 1_000_000


@dataclass(frozen=True, slots=True)
class Expected:
    """What the trace of a run must add up to, counted in the source."""

    spans: int
    llm_calls: int
    tool_calls: int
    tool_errors: int
    errors: int
    """Spans that failed: tool calls, and the root when the run ended by the agent's failure."""
    input_tokens: int
    output_tokens: int
    user_messages: int
    """That the agent has seen: what the customer says last is answered by nobody."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run, and what its trace must add up to. `truth` of its turn is (level1, level2) of the labels."""

    session: Session
    expected: Expected
    started: datetime | None
    """By the source's clock, where it has one."""

    @property
    def key(self) -> str:
        return self.session.turns[0].key


@dataclass(frozen=True, slots=True)
class _Source:
    """A run as it is in its file, with the differences between the files taken out."""

    key: str
    dataset: str
    domain: str
    model: str
    task: str
    user_id: str
    system: str
    messages: Sequence[Mapping[str, Any]]
    reward: float
    ended: str
    started: datetime | None
    truth: tuple[str, str]


def available(data: Path) -> bool:
    """Whether the three data sets are there."""
    return all((data / name / "labels.derived.jsonl").exists() for name in (TAU_BENCH, AGENT_RX, TAU2))


def real_traffic(data: Path, hours: int = 20) -> Traffic:
    """Every run, over the last `hours`. Raises FileNotFoundError when a file is missing."""

    def traces() -> Iterator[PlannedTrace]:
        for run in runs(data, hours):
            yield from plan(run.session)

    return Traffic(f"{count(data)} real agent runs", hours, traces, "known")


def count(data: Path) -> int:
    """Runs that the labels name."""
    return sum(len(_labels(data, name)) for name in (TAU_BENCH, AGENT_RX, TAU2))


def runs(data: Path, hours: int = 20) -> Iterator[Run]:
    """Every run in order, its start spread evenly over the last `hours`."""
    spacing = (hours * HOUR_NS - _LAST_START_NS) // count(data)
    for index, source in enumerate(_sources(data)):
        yield _run(source, -hours * HOUR_NS + index * spacing)


# -------------------------------------------------------------------------------- files


def _sources(data: Path) -> Iterator[_Source]:
    yield from _tau_bench(data)
    yield from _agent_rx(data)
    yield from _tau2(data)


def _tau_bench(data: Path) -> Iterator[_Source]:
    labels = {label["trace"]: label for label in _labels(data, TAU_BENCH)}
    for run in _read(data / TAU_BENCH / "gpt-4o-airline.json.gz"):
        key = f"task{run['task_id']}-trial{run['trial']}"
        yield _tau_source(TAU_BENCH, key, "gpt-4o", run, labels[key])


def _agent_rx(data: Path) -> Iterator[_Source]:
    labels = {label["task_id"]: label for label in _labels(data, AGENT_RX)}
    for name in _AGENT_RX_FILES:
        for run in _read(data / AGENT_RX / name):
            # The source does not name the model.
            yield _tau_source(AGENT_RX, f"agentrx-{run['task_id']}", "", run, labels[run["task_id"]])


def _tau_source(
    dataset: str, key: str, model: str, run: Mapping[str, Any], label: Mapping[str, Any]
) -> _Source:
    system, *messages = run["traj"]
    return _Source(
        key=key,
        dataset=dataset,
        domain=label["level1"],
        model=model,
        task=str(run["task_id"]),
        user_id=run["info"]["task"]["user_id"],
        system=system["content"],
        messages=[
            {**m, "error": m["role"] == "tool" and m["content"].startswith("Error:")} for m in messages
        ],
        reward=float(run["reward"]),
        ended="",
        started=None,
        truth=(label["level1"], label["level2"]),
    )


def _tau2(data: Path) -> Iterator[_Source]:
    labels = {(label["file"], label["simulation_id"]): label for label in _labels(data, TAU2)}
    for name in _TAU2_FILES:
        content = _read(data / TAU2 / name)
        info = content["info"]
        for run in sorted(content["simulations"], key=lambda run: run["start_time"]):
            label = labels[name, run["id"]]
            timed = all("timestamp" in message for message in run["messages"])
            yield _Source(
                key=run["id"],
                dataset=TAU2,
                domain=info["environment_info"]["domain_name"],
                model=info["agent_info"]["llm"].removeprefix("ollama_chat/"),
                task=str(run["task_id"]),
                user_id="",
                system=info["environment_info"]["policy"],
                messages=run["messages"],
                reward=float(run["reward_info"]["reward"]),
                ended=run["termination_reason"],
                started=datetime.fromisoformat(run["start_time"]) if timed else None,
                truth=(label["level1"], label["level2"]),
            )


def _labels(data: Path, name: str) -> list[dict[str, Any]]:
    with (data / name / "labels.derived.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _read(path: Path) -> Any:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)


# -------------------------------------------------------------------------------- one run


def _run(source: _Source, start_ns: int) -> Run:
    error = source.ended if source.ended in _FAILED_ENDS else ""
    turn = Turn(
        key=source.key,
        start_ns=start_ns,
        script=tuple(_script(source)),
        truth=source.truth,
        feedback={"reward": source.reward},
        error=error,
    )
    session = Session(
        session_id=source.key,
        user_id=source.user_id,
        agent=f"{source.domain}-agent",
        provider="openai" if "gpt" in source.model else "",
        system=source.system,
        resource={"service.name": f"{source.domain}-agent", "deployment.environment.name": source.dataset},
        turns=(turn,),
        attributes={"tau.task_id": source.task},
        system_on_root=True,
    )
    return Run(session, _expected(source.messages, failed=bool(error)), source.started)


def _script(source: _Source) -> Iterator[Said | Answered]:
    """The conversation up to the last answer, every tool call with its result."""
    times = _clock(source)
    messages = list(zip(source.messages, times, pairwise([0, *times]), strict=False))
    index = 0
    while index < len(messages):
        message, end_ns, (start_ns, _) = messages[index]
        index += 1
        if message["role"] == "user":
            yield Said(message["content"] or "")
            continue
        calls = []
        for asked in message.get("tool_calls") or ():
            # The results follow in the order of the calls; ids repeat in some sources.
            answer, answered_ns, (asked_ns, _) = messages[index]
            index += 1
            if answer["role"] != "tool" or _call_id(answer) != asked["id"]:
                raise ValueError(f"{source.key}: a tool call has no result")
            calls.append(_call(asked, answer, asked_ns, answered_ns))
        usage = message.get("usage") or {}
        yield Answered(
            text=message["content"] or "",
            start_ns=start_ns,
            duration_ns=end_ns - start_ns,
            calls=tuple(calls),
            model=source.model,
            input_tokens=usage.get("prompt_tokens"),
            output_tokens=usage.get("completion_tokens"),
        )


def _call(asked: Mapping[str, Any], answer: Mapping[str, Any], start_ns: int, end_ns: int) -> Call:
    # tau-bench has the API's shape, tau2 its own.
    function = asked.get("function", asked)
    arguments = function["arguments"]
    content = answer["content"] or ""
    return Call(
        call_id=asked["id"],
        tool=function["name"],
        arguments=arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False),
        result=content,
        start_ns=start_ns,
        duration_ns=end_ns - start_ns,
        error=(content or "error") if answer.get("error") else "",
    )


def _call_id(answer: Mapping[str, Any]) -> str:
    call_id: str = answer.get("tool_call_id") or answer["id"]
    return call_id


def _clock(source: _Source) -> list[int]:
    """When each message was there, in nanoseconds since the start of the run."""
    if source.started is None:
        return _synthetic_clock(source.messages)
    times = []
    latest = 0
    for message in source.messages:
        since = datetime.fromisoformat(message["timestamp"]) - source.started
        microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
        latest = max(latest, microseconds * 1000)
        times.append(latest)
    return times


def _synthetic_clock(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    times: list[int] = []
    now = 0
    for message in messages:
        if message["role"] == "assistant":
            now += _MODEL_NS + _MODEL_NS_PER_CHARACTER * len(message["content"] or "")
        elif message["role"] == "tool":
            now += _TOOL_NS
        elif times:
            now += _CUSTOMER_NS
        times.append(now)
    return times


def _expected(messages: Sequence[Mapping[str, Any]], *, failed: bool) -> Expected:
    answers = [m for m in messages if m["role"] == "assistant"]
    results = [m for m in messages if m["role"] == "tool"]
    last = max(index for index, m in enumerate(messages) if m["role"] == "assistant")
    usages = [m.get("usage") or {} for m in answers]
    tool_errors = sum(bool(m.get("error")) for m in results)
    return Expected(
        spans=1 + len(answers) + len(results),
        llm_calls=len(answers),
        tool_calls=len(results),
        tool_errors=tool_errors,
        errors=tool_errors + failed,
        input_tokens=sum(u.get("prompt_tokens", 0) for u in usages),
        output_tokens=sum(u.get("completion_tokens", 0) for u in usages),
        user_messages=sum(m["role"] == "user" for m in messages[:last]),
    )
