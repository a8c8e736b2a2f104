"""Logs a training to Weights & Biases, and uploads its run."""
