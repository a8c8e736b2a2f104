"""Blessed models go out, and come back: a folder, AI Platform Prediction or Vertex AI."""
