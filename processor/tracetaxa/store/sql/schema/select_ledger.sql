SELECT Version, Checksum FROM tracetaxa_migrations FINAL ORDER BY Version
