"""Measuring how a model runs fastest on this machine: what may be tried, the search, and the workers that are measured."""
