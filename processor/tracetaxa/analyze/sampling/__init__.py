"""Which traces an analysis reads, and with what probability."""
