"""Runs on Vertex AI Pipelines: plan, compiled spec, submission, status."""
