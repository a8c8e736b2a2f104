"""Lineage recorded in ML Metadata: as text, as a web page and as Weights & Biases artifacts."""
