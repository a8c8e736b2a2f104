"""The serving gate on models that are broken in different ways."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from data.sources import samples
from pipeline.artifacts.label_file import FILE
from pipeline.components.serving_check import probe
from pipeline.config.gate import ServingConfig

LABELS = ["cat", "dog"]
SIGNATURES = ("serving_default", "serving_jpeg", "serving_pixels")
SIZE = 32
SETTINGS = {
    **ServingConfig(latency_calls=5, timeout_s=120).model_dump(mode="json"),
    "labels": LABELS,
    "image_size": SIZE,
}
PIXELS = np.full([2, SIZE, SIZE, 3], 51, np.uint8)  # a fifth of white
TRAINED = [[0.8, 0.2]] * 2
RESIZES = [f"serving_pixels resizes [150, {width}, 3] as training does" for width in (150, 100)]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving") / "photos"
    samples.draw(folder, count=4, size=SIZE)
    return [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    "image": tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[path.read_bytes()])
                    )
                }
            )
        ).SerializeToString()
        for path in sorted(folder.rglob("*.jpg"))
    ]


class Brightness(tf.Module):
    """Has the signatures of the pipeline's models; bright images are dogs."""

    def __init__(self, labels=LABELS, pixel_scale=1.0):
        super().__init__()
        self.labels = tf.constant(labels)
        self.label_file = LABELS
        self.pixel_scale = pixel_scale

    def _answer(self, pixels):
        bright = tf.reduce_mean(tf.cast(pixels, tf.float32), axis=[1, 2, 3]) / 255
        probabilities = tf.stack([1 - bright, bright], axis=1)
        index = tf.argmax(probabilities, axis=1)
        return {
            "label": tf.gather(self.labels, index),
            "label_index": index,
            "probabilities": probabilities,
        }

    def _decode(self, photo):
        pixels = tf.io.decode_jpeg(photo, channels=3, dct_method="INTEGER_ACCURATE")
        resized = tf.image.resize(pixels, [SIZE, SIZE], antialias=True)
        return tf.cast(tf.round(resized), tf.uint8)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def photos(self, image_bytes):
        return self._answer(tf.map_fn(self._decode, image_bytes, fn_output_signature=tf.uint8))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def records(self, examples):
        spec = {"image": tf.io.FixedLenFeature([], tf.string)}
        return self.photos(tf.io.parse_example(examples, spec)["image"])

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], name="pixels")])
    def pixels(self, pixels):
        pixels = tf.ensure_shape(pixels, [None, None, None, 3])
        resized = tf.round(tf.image.resize(pixels, [SIZE, SIZE], antialias=True))
        return self._answer(resized * self.pixel_scale)


class Wrong(Brightness):
    """Swaps the labels, scales pixels wrongly, accepts any number of channels, crops images."""

    def __init__(self):
        super().__init__(labels=LABELS[::-1], pixel_scale=0.5)
        self.label_file = LABELS[::-1]

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, None], name="pixels")])
    def pixels(self, pixels):
        return self._answer(pixels[:, :SIZE, :SIZE] * self.pixel_scale)


class OneSize(Brightness):
    """Accepts only images of its own size, like models of an earlier version."""

    @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.uint8, name="pixels")])
    def pixels(self, pixels):
        # As a convolution would; a signature does not check shapes itself.
        pixels = tf.ensure_shape(tf.cast(pixels, tf.float32), [None, SIZE, SIZE, 3])
        return self._answer(pixels)


class Aborting(Brightness):
    """Aborts the process."""

    def _answer(self, pixels):
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="gone")]):
            return super()._answer(tf.identity(pixels))


class NeedsPython(Brightness):
    """Calls Python code to decode an image."""

    def _decode(self, photo):
        pixels = tf.py_function(super()._decode, [photo], tf.uint8)
        return tf.ensure_shape(pixels, [SIZE, SIZE, 3])


def save(model, folder, without=()):
    signatures = {
        "serving_default": model.records,
        "serving_jpeg": model.photos,
        "serving_pixels": model.pixels,
    }
    kept = {name: function for name, function in signatures.items() if name not in without}
    tf.saved_model.save(model, str(folder), signatures=kept)
    if model.label_file:
        (folder / FILE).write_text("".join(f"{label}\n" for label in model.label_file))
    return folder


def with_op_of_tfx(folder):
    """Replaces DecodeJpeg in the SavedModel by an op that only tfx_bsl registers."""
    path = save(Brightness(), folder) / "saved_model.pb"
    content = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    for function in content.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            node.op = "DecodeProtoSparseV5" if node.op == "DecodeJpeg" else node.op
    path.write_bytes(content.SerializeToString())
    return folder


def save_reference(folder, probabilities):
    np.savez(folder / "reference.npz", pixels=PIXELS, probabilities=probabilities)
    return str(folder / "reference.npz")


def failed(model_path, records, trained=TRAINED, **settings):
    reference = save_reference(model_path, trained)
    checks = probe(str(model_path), records, SETTINGS | settings, reference)
    return {check["name"]: check["value"] for check in checks if not check["passed"]}


def test_a_valid_model_passes_every_check(records, tmp_path):
    path = save(Brightness(), tmp_path)
    checks = probe(str(path), records, SETTINGS, save_reference(tmp_path, TRAINED))
    assert [check["name"] for check in checks if not check["passed"]] == []
    values = {check["name"]: check["value"] for check in checks}
    assert "Invalid JPEG" in values["serving_jpeg answers nonsense with an error"]
    names = " ".join(values)
    for expected in ("batch of 1 ", "batch of 32 ", "nonsense", "p50", "p99", "memory", "trained"):
        assert expected in names
    assert len(checks) == 27 and all(values[name] < 1e-6 for name in RESIZES)


def test_a_model_of_one_size_is_refused_with_its_reason(records, tmp_path):
    refused = failed(save(OneSize(), tmp_path), records)
    assert [*refused] == RESIZES
    assert "[4,150,150,3]" in refused[RESIZES[0]]


def test_the_memory_excludes_the_parent_process(records, tmp_path):
    """Linux initializes a child's peak of `getrusage` with that of its parent."""
    np.ones([2 << 30], np.uint8)
    assert failed(save(Brightness(), tmp_path), records, max_memory_mb=1500) == {}


def test_a_missing_signature_is_named(records, tmp_path):
    path = save(Brightness(), tmp_path, without=["serving_jpeg"])
    assert failed(path, records) == {"signatures": ["serving_default", "serving_pixels"]}


def test_every_failed_check_is_named(records, tmp_path):
    names = failed(
        save(Wrong(), tmp_path),
        records,
        trained=[[0.5, 0.5]] * 2,
        max_p50_ms=1e-3,
        max_p99_ms=1e-3,
        max_memory_mb=1,
    )
    assert {*names} == {
        "carries the label names in assets/labels.txt",
        *(f"{name} names the labels" for name in SIGNATURES),
        *(f"{name} p{percent} of 5 requests (ms)" for name in SIGNATURES for percent in (50, 99)),
        "serving_pixels agrees with serving_default",
        *RESIZES,
        "serving_pixels answers nonsense with an error",
        "answers as the trained model did",
        "peak memory (MiB)",
    }


@pytest.mark.parametrize(
    ("model", "reason"),
    [(with_op_of_tfx, "DecodeProtoSparseV5"), (NeedsPython, "pyfunc"), (Aborting, "gone")],
)
def test_a_model_that_tensorflow_alone_cannot_run_is_refused(model, reason, records, tmp_path):
    path = save(model(), tmp_path) if isinstance(model, type) else model(tmp_path)
    (value,) = failed(path, records).values()
    assert reason in value


def test_a_folder_without_a_model_and_a_model_that_hangs_are_refused(records, tmp_path):
    assert [*failed(tmp_path, records)][1:] == ["answers requests"]
    path = save(Brightness(), tmp_path / "m")
    assert [*failed(path, records, timeout_s=0.1)] == ["answers in time"]
