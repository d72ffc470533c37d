"""Chats that were never traced, as OTLP: parsers only, nothing here knows the store.

A `Source` (source.py) is read by the parser of its format (formats.py) into rows (rows.py): chats, which
spans.py turns into the trace that an instrumented agent would have made, or OTLP as it is. run.py puts it
together and counts.
"""
