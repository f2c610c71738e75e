"""The wire as values: parse, translate, join. No I/O, no clock, no framework."""
