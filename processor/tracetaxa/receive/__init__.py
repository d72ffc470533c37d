"""OTLP in: what senders are told is true, above all that acknowledged spans are stored."""

from tracetaxa.receive.commit import GroupCommit
from tracetaxa.receive.grpc import GrpcReceiver
from tracetaxa.receive.traces import Rejected, SpanCounts, TraceService

__all__ = ["GroupCommit", "GrpcReceiver", "Rejected", "SpanCounts", "TraceService"]
