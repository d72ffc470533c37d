"""Langfuse: `langfuse.observation.*` on its own spans, `langfuse.trace.*` on any span in its reach.

Source: langfuse-python 3.14, 4.0 and 5.0 (`_client/attributes.py`, `_client/client.py`, `openai.py`,
`langchain/CallbackHandler.py`); the JavaScript SDK writes the same names. Scores go to Langfuse's own API and
never travel on spans, except that evaluators of experiments (5.0) return theirs as the output of their span.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.failure import failed
from tracetaxa.dialects.identity import session_of, user_of
from tracetaxa.dialects.observation import read_observation
from tracetaxa.dialects.reading import Judgement, SpanReading
from tracetaxa.dialects.values import count, load_json, text, text_of, to_float, well_formed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from tracetaxa.dialects.reading import Kind, Message
    from tracetaxa.records import Span

_KINDS: dict[str, Kind] = {
    "generation": "model",
    "embedding": "retrieval",
    "retriever": "retrieval",
    "tool": "tool",
    "agent": "agent",
}
_ROOT_MARKS = ("langfuse.internal.is_app_root", "langfuse.internal.as_root")
"""On the first span of the application where something above it, a web server say, is traced too."""
_TRACE = ("langfuse.trace.input", "langfuse.trace.output")
"""Up to 4: what the application itself calls the question and the answer; on whichever span it said so."""
_GIVEN = ("input", "cache")
_CACHE_READ = ("input_cache_read", "cache_read_input_tokens", "input_cached_tokens", "cached_tokens")
_CACHE_WRITE = ("input_cache_creation", "cache_creation_input_tokens")
_DEFINITION = ("[function]", '{"type":"function"', '{"name":')


class Langfuse:
    name = "langfuse"

    def matches(self, span: Span, roots: Collection[str]) -> bool:
        return "langfuse" in roots

    def read(self, span: Span) -> SpanReading:
        attributes = span.attributes
        stated = text(attributes, "langfuse.observation.type").lower()
        if not stated and not any(key in attributes for key in _TRACE):
            return SpanReading()  # another instrumentation's span, with the trace's name and tags on it
        kind = _kind(span, stated)
        given = text(attributes, "langfuse.observation.input")
        returned = text(attributes, "langfuse.observation.output")
        if kind == "agent":
            given, returned = text(attributes, _TRACE[0]) or given, text(attributes, _TRACE[1]) or returned
        error = failed(span) or attributes.get("langfuse.observation.level") == "ERROR"
        observed = read_observation(span, kind, given, returned, failed=error)
        counted = kind in ("model", "retrieval")
        usage = _object(text(attributes, "langfuse.observation.usage_details")) if counted else {}
        input_tokens, output_tokens = _tokens(usage) if usage else (None, None)
        return SpanReading(
            kind=kind,
            system=observed.asked.system,
            input=tuple(filter(_said, observed.asked.messages)),
            output=observed.answered.messages,
            tool=observed.tool,
            retrieval=observed.retrieval,
            model=well_formed(text(attributes, "langfuse.observation.model.name")),
            provider=_plain(text(attributes, "langfuse.observation.metadata.ls_provider")),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cache_read_tokens=count({**_details(usage), **usage}, *_CACHE_READ) if usage else None,
            cache_write_tokens=count(usage, *_CACHE_WRITE) if usage else None,
            cost_usd=_cost(text(attributes, "langfuse.observation.cost_details")) if counted else None,
            session=session_of(span),
            user=user_of(span),
            agent=well_formed(span.name) if kind == "agent" else "",
            feedback=tuple(_scores(returned)) if stated == "evaluator" else (),
        )


def _kind(span: Span, stated: str) -> Kind:
    """The stated kind. A step that is the application's first, or speaks for the trace, is its agent."""
    attributes = span.attributes
    kind = _KINDS.get(stated, "other")
    if kind != "other":
        return kind
    first = not span.parent_span_id or text(attributes, *_ROOT_MARKS).lower() == "true"
    return "agent" if first or any(key in attributes for key in _TRACE) else "other"


def _tokens(usage: dict[str, Any]) -> tuple[int | None, int | None]:
    """Input and output, the cached and the reasoned included.

    Langfuse's own parts (`input`, `input_cache_read`, …) exclude each other and add up to `total`; OpenAI's
    usage comes as it is, with everything in `prompt_tokens`.
    """
    parts = {
        key: number for key in usage if (number := count(usage, key)) is not None and "priority" not in key
    }
    output = count(usage, "completion_tokens", "output_tokens")
    if output is None:
        output = _sum([number for key, number in parts.items() if key.startswith("output")])
    total = count(usage, "total", "total_tokens")
    if total is not None and output is not None and total >= output:
        return total - output, output
    given = count(usage, "prompt_tokens")
    if given is None:
        given = _sum([n for key, n in parts.items() if key.startswith(_GIVEN) and "ephemeral" not in key])
    return given, output


def _details(usage: dict[str, Any]) -> dict[str, Any]:
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    return details if isinstance(details, dict) else {}


def _cost(raw: str) -> float | None:
    cost = _object(raw)
    if "total" in cost:
        return to_float(cost["total"])
    known = [number for value in cost.values() if (number := to_float(value)) is not None]
    return sum(known) if known else None


def _said(message: Message) -> bool:
    """The LangChain callback appends the tools that the model may use, as messages with role `tool`."""
    results = message.results
    return message.role != "tool" or any(r.call_id or not r.text.startswith(_DEFINITION) for r in results)


def _scores(returned: str) -> Iterator[Judgement]:
    """`[{"name": …, "value": …, "comment": …}]`; the value is a number, a boolean or a category."""
    found = load_json(returned) if returned[:1] in ("[", "{") else None
    for score in found if isinstance(found, list) else [found]:
        if isinstance(score, dict) and isinstance(score.get("name"), str) and score.get("value") is not None:
            value = score["value"]
            yield Judgement(
                name=text_of(score["name"]),
                score=None if isinstance(value, str) else to_float(value),
                label=text_of(value) if isinstance(value, str) else "",
                comment=text_of(score.get("comment")),
            )


def _plain(raw: str) -> str:
    """A metadata value: JSON from 5.0 on, text before."""
    value = load_json(raw) if raw.startswith('"') else None
    return well_formed(value if isinstance(value, str) else raw)


def _object(raw: str) -> dict[str, Any]:
    value = load_json(raw) if raw else None
    return value if isinstance(value, dict) else {}


def _sum(numbers: Sequence[int]) -> int | None:
    return sum(numbers) if numbers else None
