"""Artifacts that components exchange: file names, digests, SavedModels and label files."""
