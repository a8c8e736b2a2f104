"""Custom TFX components, and TFX components with additional checks."""
