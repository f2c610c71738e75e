"""What is known about model files and machines: facts are read, never guessed."""
