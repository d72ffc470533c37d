"""OTLP in: what senders are told is true, above all that acknowledged data is stored."""

from tracetaxa.receive.auth import Credential
from tracetaxa.receive.commit import GroupCommit
from tracetaxa.receive.export import Counts, ExportService, Rejected
from tracetaxa.receive.grpc import GrpcReceiver
from tracetaxa.receive.http import HttpReceiver
from tracetaxa.receive.room import Room
from tracetaxa.receive.signals import LOGS, TRACES, Signal
from tracetaxa.receive.tls import Tls

__all__ = [
    "LOGS",
    "TRACES",
    "Counts",
    "Credential",
    "ExportService",
    "GroupCommit",
    "GrpcReceiver",
    "HttpReceiver",
    "Rejected",
    "Room",
    "Signal",
    "Tls",
]
