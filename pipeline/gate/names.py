"""Names that several modules share; workers of Beam read this without the config's libraries."""

VERDICT_FILE = "verdict.json"
"""What both gates write beside their blessing."""
IMAGE_SIZE = "image_size"
"""The slices by the longer side of a photo in pixels."""
