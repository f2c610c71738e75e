"""The parent side of the workers: start, watch, call, stop."""
