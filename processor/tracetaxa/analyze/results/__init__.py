"""From labels to a report: numbers, document, prose."""
