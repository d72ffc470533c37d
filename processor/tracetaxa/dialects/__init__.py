"""Spans of any instrumentation in, one canonical Trace out.

`read_trace`, `read_session` for the traces of one conversation and `outline` for a reader are all that the
other layers need. A dialect says what a single span means: reading.py holds the interface, dialect.py the
list of dialects in order of precedence. merge.py puts the readings together, with tree.py (who is inside
whom), conversation.py (each message once), pairing.py (each tool call once) and judging.py (feedback).
"""

from tracetaxa.dialects.merge import read_session, read_trace
from tracetaxa.dialects.outline import outline

__all__ = ["outline", "read_session", "read_trace"]
