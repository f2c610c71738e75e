"""Ollama's API: its requests become chats, completions and embeddings, and their answers its lines."""
