"""Makes builds of llama.cpp for this machine: wheels for its GPU, and native ones from the sources."""
