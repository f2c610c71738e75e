"""Anthropic's Messages API: its requests become chats, and chats' answers its messages and events."""
