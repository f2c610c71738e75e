"""What Ollama's models are made of: names, image manifests, parameters, templates. Values only, without network or disk."""
