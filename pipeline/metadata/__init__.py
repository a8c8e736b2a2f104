"""ML Metadata: executions, artifacts and the edges between them, read from any store."""
