"""Prediction: over REST, with a local model, or in bulk for a folder of photos."""
