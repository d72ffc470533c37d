"""Trace content that may speak to the model which reads it."""
