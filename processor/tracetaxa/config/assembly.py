"""When traces and sessions close, and how much of them is read."""

from __future__ import annotations

from pydantic import (
    Field,
)

from tracetaxa.config.section import Section
from tracetaxa.config.values import MOST, MOST_MIB, Positive


class AssemblyConfig(Section):
    idle_seconds: Positive = 30.0
    """A trace closes after this long without a new span, if its root or one with a remote parent came."""
    orphan_idle_seconds: Positive = 120.0
    """A trace of which neither came closes after this long without a new span."""
    max_trace_seconds: Positive = 3600.0
    """A trace closes this long after its first span at the latest."""
    session_idle_seconds: Positive = 1800.0
    """A session closes this long after the last span of its closed traces arrived; a later trace opens it
    again. Longer than a trace takes to close, and as long as users pause."""
    max_session_traces: int = Field(default=200, ge=1, le=2000)
    """Of a session with more traces the newest are kept; more costs memory."""
    max_session_spans: int = Field(default=20_000, ge=1, le=MOST)
    """Of a session whose traces have more spans the newest traces are kept; more costs memory."""
    max_session_mib: int = Field(default=64, ge=1, le=MOST_MIB)
    """The same by the size of attributes and events; in memory they take a few times that."""
    tick_seconds: Positive = 1.0
    """How often closed traces are looked for."""
    batch_traces: int = Field(default=500, ge=1, le=2000)
    """Traces assembled at once, within the two limits below; more costs memory."""
    max_trace_spans: int = Field(default=20_000, ge=1, le=MOST)
    """Of a trace with more spans the first are kept, of many traces as many are read at once; more costs
    memory. A trace says how many spans it leaves out."""
    max_trace_mib: int = Field(default=64, ge=1, le=MOST_MIB)
    """The same by the size of attributes and events; in memory they take a few times that."""
    max_attempts: int = Field(default=3, ge=1, le=MOST)
    """Tries to read a trace before it is written without its content."""
    max_text_chars: int = Field(default=16_384, ge=100, le=MOST)
    """Input and Output of a trace are kept up to this length; its spans keep all."""
    digest_tokens: int = Field(default=400, ge=50, le=8000)
    """Budget of a trace's digest, in tokens of about four characters; more costs more model input."""
