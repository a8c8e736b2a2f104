"""Weights & Biases: what a training logs, and how that is uploaded."""
