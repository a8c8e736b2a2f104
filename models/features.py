"""Names of the features on both sides of Transform, and of what the served model returns."""

# Raw side: the record that `data` writes and TFRecorder wrote before it.
from data.record.records import IMAGE, IMAGE_CHANNELS, IMAGE_HEIGHT, IMAGE_WIDTH, LABEL

__all__ = [
    "CHANNELS",
    "IMAGE",
    "IMAGE_CHANNELS",
    "IMAGE_HEIGHT",
    "IMAGE_WIDTH",
    "LABEL",
    "PREDICTED_INDEX",
    "PREDICTED_LABEL",
    "PREPROCESSED",
    "PROBABILITIES",
    "image_bytes",
]

# What the preprocessing reads; all of it can be missing at serving time but the image.
PREPROCESSED = (IMAGE, IMAGE_HEIGHT, IMAGE_WIDTH, IMAGE_CHANNELS)

# Transformed side: IMAGE is one bytes string of size*size*3 uint8 (row, column, RGB), LABEL the
# int64 index of the class. The names stay, so that labels are found alike on both sides.
CHANNELS = 3

# Outputs of every serving signature.
PREDICTED_LABEL = "label"
PREDICTED_INDEX = "label_index"
PROBABILITIES = "probabilities"


def image_bytes(image_size: int) -> int:
    """Length in bytes of one transformed image of `image_size` by `image_size` pixels."""
    return image_size * image_size * CHANNELS
