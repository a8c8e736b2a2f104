"""Pushes blessed models to a folder, AI Platform Prediction or Vertex AI, and rolls them back."""
