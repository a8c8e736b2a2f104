"""Reads folders of records with TensorFlow and prints the results as JSON; run by a test."""

import glob
import hashlib
import json
import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf
import tensorflow_transform as tft

import data

folder = sys.argv[1]


def texts(words):
    return [word.decode() for word in words]


def encoded_set(name):
    loaded = data.load(f"{folder}/{name}")
    decoded = data.load(f"{folder}/{name}", decode=True)
    digest = hashlib.sha256()
    for features in decoded["TRAIN"]:
        digest.update(features["image"].numpy().tobytes())
    return {
        "splits": {split: sum(1 for _ in dataset) for split, dataset in loaded.items()},
        "features": sorted(next(iter(loaded["TRAIN"]))),
        "decoded_shape": list(features["image"].shape),
        "pixels_sha256": digest.hexdigest(),
    }


def article():
    """A reader as users of TFRecorder write it: feature spec, base64, raw pixels, resize."""
    strings = ("image", "image_name", "split")
    numbers = ("image_channels", "image_height", "image_width", "label")
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in strings}
    spec |= {name: tf.io.FixedLenFeature([], tf.int64) for name in numbers}

    def read(example):
        features = tf.io.parse_single_example(example, spec)
        flat = tf.io.decode_raw(tf.io.decode_base64(features["image"]), out_type=tf.uint8)
        sizes = [features[f"image_{name}"] for name in ("height", "width", "channels")]
        image = tf.image.resize(tf.reshape(flat, tf.stack(sizes)), size=[150, 150])
        return tf.cast(image, tf.uint8), features["label"]

    files = glob.glob(f"{folder}/raw/train-*")
    dataset = tf.data.TFRecordDataset(filenames=files, compression_type="GZIP").map(read)
    images, labels = next(iter(dataset.shuffle(2048).batch(5)))
    return {"shape": list(images.shape), "labels": labels.numpy().tolist()}


def own():
    """The functions of the article, from its text."""
    if not os.path.exists(f"{folder}/article.py"):
        return None
    names = {"tf": tf}
    with open(f"{folder}/article.py") as code:
        exec(code.read(), names)
    images, _ = next(iter(names["get_dataset"](glob.glob(f"{folder}/raw/train-*"))))
    return {"shape": list(images.shape), "dtype": images.dtype.name}


def odd():
    """The largest pixel difference of each unusual photo, and whether its bytes were kept."""
    if not os.path.isdir(f"{folder}/odd-raw"):
        return None
    raw, jpeg = (data.load(f"{folder}/odd-{name}")["TRAIN"] for name in ("raw", "jpeg"))
    found = {}
    for left, right in zip(raw, jpeg, strict=True):
        name = left["image_name"].numpy().decode()
        shape = [int(left[f"image_{side}"]) for side in ("height", "width", "channels")]
        flat = tf.io.decode_raw(tf.io.decode_base64(left["image"]), tf.uint8)
        expected = tf.cast(tf.reshape(flat, shape), tf.int32)
        pixels = tf.io.decode_jpeg(right["image"], dct_method="INTEGER_ACCURATE")
        difference = tf.abs(tf.cast(pixels, tf.int32) - expected)
        with open(sys.argv[2] + "/" + name, "rb") as file:
            kept = file.read() == right["image"].numpy()
        mean = float(tf.reduce_mean(tf.cast(difference, tf.float32)))
        found[name] = {"difference": mean, "kept": kept}
    return found


def transform():
    output = tft.TFTransformOutput(f"{folder}/raw")
    graph = tf.saved_model.load(f"{folder}/raw/transform_fn").signatures["transform_signature"]
    inputs = graph.structured_input_signature[1]
    values = {}
    for name, spec in inputs.items():
        value = {tf.string: b"", tf.int64: 0, tf.float32: 0.0}[spec.dtype]
        values[name] = tf.fill([3] + [1] * (spec.shape.rank - 1), tf.constant(value, spec.dtype))
    label = next(name for name in inputs if "label" in name)
    values[label] = tf.reshape(tf.constant(["dog", "cat", "cow"]), tf.shape(values[label]))
    made = graph(**values)
    key = next(name for name in made if "label" in name)
    return {
        "spec": sorted(output.transformed_feature_spec()),
        "vocabulary": texts(
            output.vocabulary_by_name("vocab_compute_and_apply_vocabulary_vocabulary")
        ),
        "labels_of_dog_cat_cow": made[key].numpy().ravel().tolist(),
    }


def structured():
    first = next(iter(data.load(f"{folder}/structured")["TRAIN"].as_numpy_iterator()))
    plain = {
        name: value.decode() if isinstance(value, bytes) else value.item()
        for name, value in first.items()
    }
    spec = tft.TFTransformOutput(f"{folder}/structured").transformed_feature_spec()
    return {"first": plain, "spec": sorted(spec)}


print(
    json.dumps(
        {
            "raw": encoded_set("raw"),
            "jpeg": encoded_set("jpeg"),
            "article": article(),
            "own": own(),
            "odd": odd(),
            "transform": transform(),
            "structured": structured(),
        }
    )
)
