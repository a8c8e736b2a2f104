"""Names that several modules share; workers of Beam read this without the config's libraries."""

VERDICT_FILE = "verdict.json"
"""What both gates write beside their blessing."""
CROSS_VALIDATION_FILE = "cross_validation.json"
"""The accuracy over all photos, in the artifact of the component that measures it."""
FEW_PHOTOS = 100
"""Test photos below which a run says what they cannot show, and cross-validates all photos."""
IMAGE_SIZE = "image_size"
"""The slices by the longer side of a photo in pixels."""
BASELINE = "baseline"
"""TFMA's name of the second model, the latest blessed one."""
PROBABILITIES = "probabilities"
"""The output of a model that is measured."""
