"""Runs that start by themselves, and whose turn it is when several processes share a database."""
