"""tracetaxa: discover, label and watch the kinds of behaviour in the traces of LLM agents."""

__version__ = "0.1.0"
