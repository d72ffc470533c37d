"""What leaves for a model or a reader without what identifies people."""
