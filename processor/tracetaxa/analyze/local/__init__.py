"""The `local` engine: embeddings, clustering and keyword names, without a key or a network."""
