"""ML Metadata: reads executions, artifacts and the edges between them from any store."""
