"""Traces as short texts that decide a category."""
