"""Labels that people give: read, resolved against the newest taxonomy, kept in `trace_labels`, listed."""
