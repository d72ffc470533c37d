"""Spans that state their kind and hold what went in and what came out, each as text or JSON.

Langfuse, LangSmith and MLflow record so: any function, chain, tool or model call is an observation with an
input and an output, and its kind says how to read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.arguments import called_with, returned_by
from tracetaxa.dialects.messages import EMPTY, Conversation, read_messages, read_payload, read_result
from tracetaxa.dialects.reading import Retrieval, ToolRun
from tracetaxa.dialects.values import load_json, text_of, well_formed

if TYPE_CHECKING:
    from tracetaxa.dialects.reading import Kind
    from tracetaxa.records import Span

_CONTENT = ("page_content", "content", "text", "document", "node")
"""Where a document keeps its text; the last two hold the document itself beside its score."""
_LISTS = ("documents", "nodes", "output")
"""Where a search keeps its documents, if not at the top."""
_MAX_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Observation:
    """One of these says something: the messages of a model or agent, the tool's run, the search."""

    asked: Conversation = EMPTY
    answered: Conversation = EMPTY
    tool: ToolRun | None = None
    retrieval: Retrieval | None = None


_NOTHING = Observation()


def read_observation(span: Span, kind: Kind, given: str, returned: str, *, failed: bool) -> Observation:
    """What went in and came out, by the kind of the span; of a step nothing."""
    if kind == "tool":
        return Observation(tool=_tool(span, given, returned, failed))
    if kind == "retrieval":
        return Observation(retrieval=_retrieval(span, given, returned))
    if kind == "other":
        return _NOTHING
    read = read_messages if kind == "model" else read_payload
    return Observation(read(given, "user"), read(returned, "assistant"))


def _tool(span: Span, given: str, returned: str, failed: bool) -> ToolRun:
    told = read_result(returned)
    return ToolRun(
        call_id=told.call_id,
        name=well_formed(span.name),
        arguments=called_with(given),
        result=returned_by(told.text),
        error=failed or told.error,
    )


def _retrieval(span: Span, given: str, returned: str) -> Retrieval | None:
    """The search, if what came out are documents; an embedding finds none."""
    found = load_json(returned) if returned[:1] in ("[", "{") else None
    if isinstance(found, dict):
        found = next((found[key] for key in _LISTS if isinstance(found.get(key), list)), None)
    texts = [_text(document, 0) for document in found] if isinstance(found, list) else []
    if not any(texts):
        return None
    asked = read_payload(given, "user").messages
    return Retrieval(well_formed(span.name), asked[-1].text if asked else "", "\n".join(filter(None, texts)))


def _text(document: Any, depth: int) -> str:
    if isinstance(document, str):
        return text_of(document)
    if not isinstance(document, dict) or depth == _MAX_DEPTH:
        return ""
    return next((said for key in _CONTENT if (said := _text(document.get(key), depth + 1))), "")
