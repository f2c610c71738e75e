"""OpenAI's Responses API: its items become chats, and chats' answers its items and events."""
