"""Drawing pictures with diffusers, in an engine environment of its own."""
