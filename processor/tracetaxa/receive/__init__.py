"""OTLP in: what senders are told is true, above all that acknowledged data is stored."""

from tracetaxa.receive.commit import GroupCommit, Room
from tracetaxa.receive.export import Counts, ExportService, Rejected
from tracetaxa.receive.grpc import GrpcReceiver
from tracetaxa.receive.signals import LOGS, TRACES, Signal

__all__ = [
    "LOGS",
    "TRACES",
    "Counts",
    "ExportService",
    "GroupCommit",
    "GrpcReceiver",
    "Rejected",
    "Room",
    "Signal",
]
