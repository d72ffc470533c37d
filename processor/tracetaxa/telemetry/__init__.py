"""What tracetaxa says of itself and of what it found: metrics, and events of new categories."""
