"""Closed traces and their labels on to an OTLP destination (docs/forwarding.md).

What is left to do follows from tables: `trace_revisions` says what was closed, `forward_events` what was
labelled and delivered, and `forward_spool` has the spans as they came.
"""
