"""Freehold: a self-hosted, drop-in alternative to OpenAI's API that runs on its user's own hardware."""

__version__ = "0.1.0"
