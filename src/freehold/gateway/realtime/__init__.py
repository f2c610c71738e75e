"""Realtime sessions: protocol/realtime decides, this carries out: sockets, workers, leases, time."""
