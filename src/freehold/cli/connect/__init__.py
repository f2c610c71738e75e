"""`freehold connect`: the configuration of editors and agents, written, tested and undone."""
