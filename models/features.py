"""Names of the features before and after Transform, and of the served model's outputs."""

# Raw features: the record that `data` and TFRecorder write.
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

# Inputs of the preprocessing. A request needs the image only.
PREPROCESSED = (IMAGE, IMAGE_HEIGHT, IMAGE_WIDTH, IMAGE_CHANNELS)

# Transformed features keep their names: IMAGE is a string of size*size*3 uint8 (row, column, RGB),
# LABEL the int64 index of the class.
CHANNELS = 3

# Outputs of every serving signature.
PREDICTED_LABEL = "label"
PREDICTED_INDEX = "label_index"
PROBABILITIES = "probabilities"


def image_bytes(image_size: int) -> int:
    """Returns the length in bytes of a transformed image of `image_size` by `image_size` pixels."""
    return image_size * image_size * CHANNELS
