"""Trains the same backbone in a bare tf_keras script, as a baseline for the pipeline.

    python -m benchmarks.bare PHOTOS MODEL

Reads the photos of a folder with one folder per label, computes their features once with the same
backbone, trains a head for as many steps, writes a SavedModel that takes JPEG files, and tests it
on a tenth of the photos. It has no records, statistics, schema, gates, lineage or resumption.
Prints the seconds of each part as JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

_SIZE, _BATCH = 224, 32


def main(folder: str, target: str) -> dict[str, float]:
    """Trains and writes the model; returns the seconds of each part and the accuracy."""
    began = time.perf_counter()
    import numpy as np
    import tensorflow as tf
    import tf_keras

    from models.architectures import efficientnet_lite0
    from models.backbones import efficientnet_lite, torch_file

    marks = {"libraries": time.perf_counter()}
    paths = sorted(map(str, Path(folder).glob("*/*")))
    names = sorted({Path(path).parent.name for path in paths})
    labels = [names.index(Path(path).parent.name) for path in paths]

    def load(content):
        image = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
        return tf.round(tf.image.resize(image, [_SIZE, _SIZE], antialias=True))

    photos = tf.data.Dataset.from_tensor_slices(paths)
    photos = photos.map(lambda p: load(tf.io.read_file(p)), num_parallel_calls=tf.data.AUTOTUNE)
    with open(efficientnet_lite0.find_weights().path, "rb") as file:
        backbone = efficientnet_lite.build(_SIZE, torch_file.read(file))
    features = backbone.predict(photos.batch(_BATCH).prefetch(2), verbose=0)
    marks["features"] = time.perf_counter()

    own = efficientnet_lite0.TRAINING
    labels, tenth = np.array(labels), np.arange(len(paths)) % 10
    train = tf.data.Dataset.from_tensor_slices((features[tenth > 1], labels[tenth > 1]))
    steps = max(own.least_steps, len(paths) * 8 // 10 // own.batch_size)
    head = tf_keras.Sequential([tf_keras.layers.Dense(len(names), activation="softmax")])
    head.compile("adam", "sparse_categorical_crossentropy", ["accuracy"], steps_per_execution=10)
    batches = train.shuffle(2048).repeat().batch(own.batch_size)
    head.fit(batches, epochs=own.epochs, steps_per_epoch=steps, verbose=0)
    marks["head"] = time.perf_counter()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(images):
        pixels = tf.map_fn(load, images, fn_output_signature=tf.float32)
        return {"probabilities": head(backbone(pixels, training=False))}

    module = tf.Module()
    module.weights, module.serve = [*backbone.variables, *head.variables], serve
    tf.saved_model.save(module, target, signatures=serve)
    found = head(features[tenth == 0]).numpy().argmax(1)
    accuracy = float((found == labels[tenth == 0]).mean())
    marks["export"] = time.perf_counter()
    seconds = [began, *marks.values()]
    parts = dict(zip(marks, (b - a for a, b in itertools.pairwise(seconds)), strict=True))
    return {**parts, "accuracy": accuracy}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
