"""Attributes of a trace worth filtering and grouping by: release, environment, what the root span says."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from tracetaxa.dialects.identity import SCRUBBED
from tracetaxa.dialects.values import limited, text_of, well_formed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracetaxa.records import Span

MAX_ATTRIBUTES = 64
MAX_VALUE_CHARACTERS = 200

_FIRST = ("service.version", "deployment.environment.name", "deployment.environment")
_NOISE = (
    "telemetry.",
    "process.",
    "service.name",
    "service.instance.id",
    "tracetaxa.",
    "logfire.",
    "langfuse.internal.",
    "mlflow.traceRequestId",
    "mlflow.spanLogLevel",
    "mlflow.spanFunctionName",
)
"""Of the machine and not of the behaviour, in a column of its own, or our own labels coming back."""
_CONTENT = (
    "gen_ai.input.",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.prompt",
    "gen_ai.completion",
    "gen_ai.tool.",
    "gen_ai.retrieval.",
    "gen_ai.evaluation.explanation",
    "gen_ai.event.content",
    "pydantic_ai.",
    "final_result",
    "input.",
    "output.",
    "llm.input_messages",
    "llm.output_messages",
    "llm.prompts",
    "llm.choices",
    "llm.tools",
    "traceloop.entity.input",
    "traceloop.entity.output",
    "ai.prompt",
    "ai.response.",
    "ai.toolCall.",
    "mlflow.spanInputs",
    "mlflow.spanOutputs",
    "langfuse.trace.input",
    "langfuse.trace.output",
    "langfuse.observation.input",
    "langfuse.observation.output",
    "langfuse.experiment.item.expected_output",
    "gcp.vertex.agent.llm_",
    "gcp.vertex.agent.tool_",
    "gcp.vertex.agent.data",
    "mcp.request.",
    "mcp.response.",
    "mcp.tool.",
    "annotations.",
    "evaluations.",
    "trace.annotations.",
    "trace.evaluations.",
    "session.annotations.",
    "session.evaluations.",
    "all_messages_events",
    "events",
    "tool_arguments",
    "tool_response",
    "gen_ai.output",
    "gen_ai.task.",
    "smolagents.task",
    "exception.",
    "db.query.",
    "db.statement",
    "http.request.body",
    "http.response.body",
)
"""What was said, in any dialect: it belongs in turns, where it is redacted, not in columns to group by."""
_KEPT = (
    "gen_ai.prompt.name",
    "gen_ai.prompt.version",
    "gen_ai.tool.name",
    "tracetaxa.import.times",
    "tracetaxa.trace.root",
)


def attributes_of(root: Span, agent: str, scope: Span | None) -> dict[str, str]:
    """At most `MAX_ATTRIBUTES` short ones; the root span's win over its resource's.

    `agent` is the name of the trace's first agent, `scope` its first span of an agent, model or tool.
    """
    found = {"gen_ai.agent.name": agent} if agent else {}
    if scope is not None:
        found |= {"otel.scope.name": scope.scope_name, "otel.scope.version": scope.scope_version}
        found = {key: limited(value, MAX_VALUE_CHARACTERS) for key, value in found.items() if value}
    for key, raw in chain(_preferred(root), root.attributes.items(), root.resource.items()):
        if len(found) == MAX_ATTRIBUTES:
            break
        value = raw if isinstance(raw, str) else text_of(raw)
        if key not in found and 0 < len(value) <= MAX_VALUE_CHARACTERS and _groups(key, value):
            found[well_formed(key)] = well_formed(value)
    return found


def _preferred(root: Span) -> Iterator[tuple[str, str]]:
    for key in _FIRST:
        for source in (root.attributes, root.resource):
            if key in source:
                yield key, source[key]


def _groups(key: str, value: str) -> bool:
    return key in _KEPT or not (key.startswith(_NOISE + _CONTENT) or value.startswith(SCRUBBED))
