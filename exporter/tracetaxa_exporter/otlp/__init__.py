"""Delivers spans to an OTLP receiver: a downstream collector or backend."""

from tracetaxa_exporter.otlp.client import ClientTls, Destination, ExportClient
from tracetaxa_exporter.otlp.outcome import ExportFailed, ExportRefused, Taken
from tracetaxa_exporter.otlp.retry import Backoff, persistently
from tracetaxa_exporter.otlp.stamp import Stamp, read_text

__all__ = [
    "Backoff",
    "ClientTls",
    "Destination",
    "ExportClient",
    "ExportFailed",
    "ExportRefused",
    "Stamp",
    "Taken",
    "persistently",
    "read_text",
]
