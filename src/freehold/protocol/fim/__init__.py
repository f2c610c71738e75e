"""Filling in the middle: one engine behind all routes that complete code between what stands before and what behind."""
