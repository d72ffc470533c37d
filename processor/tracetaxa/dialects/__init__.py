"""Spans of any instrumentation in, one canonical Trace out.

`read_trace` is all that the other layers need. A dialect says what a single span means: reading.py holds the
interface, dialect.py the list of dialects in order of precedence. merge.py puts the readings together, with
tree.py (who is inside whom), conversation.py (each message once) and pairing.py (each tool call once).
"""

from tracetaxa.dialects.merge import read_trace

__all__ = ["read_trace"]
