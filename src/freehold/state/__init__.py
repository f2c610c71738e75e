"""What clients asked the server to keep: responses, conversations, chat completions, in a database."""
