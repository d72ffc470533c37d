"""Tool calls in messages and tool executions in spans are two views of one thing: one turn each."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tracetaxa.records import Turn

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from tracetaxa.dialects.conversation import Step
    from tracetaxa.dialects.reading import ToolCall, ToolRun
    from tracetaxa.records import Span, TurnRole


@dataclass(frozen=True, slots=True)
class Execution:
    """A tool span, or a search. `failure` is its error message."""

    span: Span
    run: ToolRun
    failure: str
    role: TurnRole = "tool"


def to_turns(steps: Sequence[Step], executions: Sequence[Execution]) -> tuple[Turn, ...]:
    """Steps as turns, in their order; executions that no message asked for come in by the time they started.

    Executions are in time order. Calls and executions are matched by call id, then by name and arguments,
    then by name, first with first.
    """
    matched = _match(steps, executions)
    taken = {id(execution) for execution in matched.values()}
    extra = deque(execution for execution in executions if id(execution) not in taken)
    turns: list[Turn] = []
    results = {run.run.result.strip() for run in executions} - {""}
    for step in steps:
        if step.delegated and step.text.strip() in results:
            continue  # what a sub-agent answers is the result of the tool that it works in
        while extra and extra[0].span.start_ns < step.since_ns:
            turns.append(_tool_turn(None, extra.popleft()))
        if step.call is None:
            turns.append(Turn(step.role, step.text, step.span_id, step.time_ns))
        else:
            turns.append(_tool_turn(step, matched.get(id(step))))
    turns += [_tool_turn(None, execution) for execution in extra]
    return tuple(turns)


def _match(steps: Sequence[Step], executions: Sequence[Execution]) -> dict[int, Execution]:
    """Executions by the identity of the step that asked for them."""
    matched: dict[int, Execution] = {}
    current = [step for step in steps if step.call is not None and step.time_ns]
    earlier = [step for step in steps if step.call is not None and not step.time_ns]
    free = [execution for execution in executions if execution.role == "tool"]
    # Calls made before the trace come last: their ids may be in use again.
    for asking, by in ((current, _by_id), (current, _by_arguments), (current, _by_name), (earlier, _by_id)):
        queues: dict[Hashable, deque[Execution]] = defaultdict(deque)
        for execution in free:
            queues[by(execution.run)].append(execution)
        for step in asking:
            key = by(step.call) if step.call and id(step) not in matched else None
            queue = queues[key] if key else ()
            while queue:
                execution = queue.popleft()
                if by is _by_id or execution.span.start_ns >= step.since_ns:
                    matched[id(step)] = execution
                    break
        taken = {id(execution) for execution in matched.values()}
        free = [execution for execution in free if id(execution) not in taken]
    return matched


def _by_id(call: ToolCall | ToolRun) -> Hashable:
    return call.call_id


def _by_arguments(call: ToolCall | ToolRun) -> Hashable:
    return (call.name, call.arguments) if call.arguments else None


def _by_name(call: ToolCall | ToolRun) -> Hashable:
    return call.name


def _tool_turn(step: Step | None, execution: Execution | None) -> Turn:
    """The model's view of call and result where there is one: it decided what came next."""
    call, result = (step.call, step.result) if step else (None, None)
    span, run = (execution.span, execution.run) if execution else (None, None)
    error = bool((run and run.error) or (result and result.error))
    text = (result.text if result else "") or (run.result if run else "")
    if error and not text and execution:
        text = execution.failure
    return Turn(
        role=execution.role if execution else "tool",
        text=text,
        span_id=span.span_id if span else step.span_id if step else "",
        time_ns=span.start_ns if span else step.time_ns if step else 0,
        tool=(run.name if run else "") or (call.name if call else ""),
        arguments=(call.arguments if call else "") or (run.arguments if run else ""),
        error=error,
    )
