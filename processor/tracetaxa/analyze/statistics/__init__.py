"""Estimates from samples, with how sure they are."""
