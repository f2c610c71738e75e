"""Libraries that people call a server with, unchanged, each in a process and an environment of its own.

A program (`python/use_*.py`, `../sdk/js/clients/*.mjs`) uses one library. Each of its tests is named after a feature of the
table in docs/clients.md, and a cell of that table is there because of such tests, and for no other reason.
"""
