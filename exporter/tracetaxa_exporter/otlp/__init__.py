"""Delivers spans to an OTLP receiver."""
