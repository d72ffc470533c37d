"""Closed traces become one row each in `traces`."""
