"""What goes with errors, long waits and categories, and which traces show it."""
