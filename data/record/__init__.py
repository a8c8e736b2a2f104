"""The record: its features, its bytes and the types of its columns."""
