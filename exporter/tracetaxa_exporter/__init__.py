"""Deliver OTLP ResourceSpans: a leaf package that knows nothing of the rest of tracetaxa."""
