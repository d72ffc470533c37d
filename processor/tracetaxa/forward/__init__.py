"""Closed traces go downstream over OTLP, with their labels."""
