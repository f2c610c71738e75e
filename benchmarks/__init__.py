"""What Freehold costs, measured on the machine at hand: `make bench`, or `python -m benchmarks overhead`."""
