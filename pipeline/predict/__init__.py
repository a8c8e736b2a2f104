"""Asking a model: over REST, on this machine, or about a folder of photos in bulk."""
