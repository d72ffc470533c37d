"""What a span says about its failure; the same in every dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracetaxa.dialects.values import text, well_formed

if TYPE_CHECKING:
    from tracetaxa.records import Span

_STATUS = {"error": "Error", "ok": "Ok", "unset": "Unset"}


def status_of(span: Span) -> str:
    """`Unset`, `Ok` or `Error`; older exporters spell it STATUS_CODE_ERROR."""
    return _STATUS.get(span.status.lower().removeprefix("status_code_"), "Unset")


def failed(span: Span) -> bool:
    return (
        span.status == "Error"
        or status_of(span) == "Error"
        or span.attributes.get("langfuse.observation.level") == "ERROR"
    )


def message_of(span: Span) -> str:
    """The most telling text: the status, the exception, the kind of error, the HTTP status."""
    if span.status_message:
        return well_formed(span.status_message)
    for event in span.events:
        if event.name == "exception":
            told = text(event.attributes, "exception.message", "exception.type")
            if told:
                return well_formed(told)
    if told := text(span.attributes, "error.message", "error.type", "langfuse.observation.status_message"):
        return well_formed(told)
    code = text(span.attributes, "http.response.status_code", "http.status_code")
    return well_formed(f"HTTP {code}") if code else ""
