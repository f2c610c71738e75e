"""Which model, whether, and when: names, admission, leases."""
