"""The child side: one program per kind of engine. Only these import an engine."""
