"""OpenAI's Realtime API as values: a session is a machine that takes events and gives effects, without I/O or a clock."""
