"""Benchmarks, and loaders of real data. Not part of the installed package."""
