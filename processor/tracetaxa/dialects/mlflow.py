"""MLflow: spans of its tracing SDK as they leave through OTLP, every attribute value a JSON text.

Source: mlflow-tracing 3.17 and mlflow 3.18 (`tracing/constant.py`, `tracing/processor`, `entities/span.py`,
`openai/autolog.py`, `langchain/langchain_tracer.py`). Assessments stay in MLflow's own store, and a trace's
session and user reach spans only by way of Databricks, as `session.id` and `user.id` on the root; LangGraph's
`thread_id` is in the callback's metadata. With MLFLOW_ENABLE_OTEL_GENAI_SEMCONV spans hold GenAI attributes
instead of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tracetaxa.dialects.failure import failed
from tracetaxa.dialects.identity import session_in, session_of, user_in, user_of
from tracetaxa.dialects.observation import read_observation
from tracetaxa.dialects.reading import SpanReading
from tracetaxa.dialects.values import count, load_json, text, text_of, to_float, well_formed

if TYPE_CHECKING:
    from collections.abc import Collection

    from tracetaxa.dialects.reading import Kind
    from tracetaxa.records import Span

_KINDS: dict[str, Kind] = {
    "LLM": "model",
    "CHAT_MODEL": "model",
    "TOOL": "tool",
    "AGENT": "agent",
    "WORKFLOW": "agent",
    "RETRIEVER": "retrieval",
    "RERANKER": "retrieval",
    "EMBEDDING": "retrieval",
}
_OBSERVED = ("mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.spanType")


class MLflow:
    name = "mlflow"

    def matches(self, span: Span, roots: Collection[str]) -> bool:
        return "mlflow" in roots

    def read(self, span: Span) -> SpanReading:
        kind = _kind(span)
        given, returned = _said(span, "mlflow.spanInputs"), _said(span, "mlflow.spanOutputs")
        observed = read_observation(span, kind, given, returned, failed=failed(span))
        metadata = _object(span, "metadata")
        usage, cost = _object(span, "mlflow.chat.tokenUsage"), _object(span, "mlflow.llm.cost")
        return SpanReading(
            kind=kind,
            system=observed.asked.system,
            input=observed.asked.messages,
            output=observed.answered.messages,
            tool=observed.tool,
            retrieval=observed.retrieval,
            model=_model(span, metadata) if kind in ("model", "retrieval") else "",
            provider=_said(span, "mlflow.llm.provider") or text_of(metadata.get("ls_provider")),
            input_tokens=count(usage, "input_tokens"),
            output_tokens=count(usage, "output_tokens"),
            cache_read_tokens=count(usage, "cache_read_input_tokens"),
            cache_write_tokens=count(usage, "cache_creation_input_tokens"),
            cost_usd=to_float(cost.get("total_cost")),
            session=_unquoted(session_of(span)) or session_in(metadata),
            user=_unquoted(user_of(span)) or user_in(metadata),
            agent=well_formed(span.name) if kind == "agent" else "",
        )


def _kind(span: Span) -> Kind:
    """The stated kind. A step that nothing is above is the agent, if MLflow recorded it at all."""
    kind = _KINDS.get(_said(span, "mlflow.spanType").upper(), "other")
    recorded = any(key in span.attributes for key in _OBSERVED)
    return "agent" if kind == "other" and recorded and not span.parent_span_id else kind


def _model(span: Span, metadata: dict[str, Any]) -> str:
    """Older releases name the model only among the parameters of the call."""
    named = _said(span, "mlflow.llm.model") or text_of(metadata.get("ls_model_name")) or _said(span, "model")
    if named:
        return named
    parameters = _object(span, "invocation_params")
    return text_of(parameters.get("model") or parameters.get("model_name"))


def _said(span: Span, *keys: str) -> str:
    return _unquoted(text(span.attributes, *keys))


def _unquoted(raw: str) -> str:
    """Text out of its JSON quotes; objects and lists stay JSON; nothing for null."""
    if not raw.startswith('"'):
        return "" if raw == "null" else well_formed(raw)
    value = load_json(raw)
    return well_formed(value if isinstance(value, str) else raw)


def _object(span: Span, key: str) -> dict[str, Any]:
    raw = text(span.attributes, key)
    value = load_json(raw) if raw.startswith("{") else None
    return value if isinstance(value, dict) else {}
