"""The Evaluator as the pipeline configures it, on real records and a model that logs batches."""

import sys

import tensorflow as tf

from benchmarks.evaluation import evaluate
from data.sources import samples
from pipeline.config.gate import GateConfig
from pipeline.gate.measurements import Measurements

LABELS = ("cat", "dog")
PHOTOS = 100


def save_logging_model(folder, log):
    """Bright images are dogs; the size of each batch is logged."""

    class Logging(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
        def __call__(self, examples):
            tf.print(tf.size(examples), output_stream=f"file://{log}")
            spec = {"image": tf.io.FixedLenFeature([], tf.string)}
            images = tf.io.parse_example(examples, spec)["image"]
            bright = tf.map_fn(self._brightness, images, fn_output_signature=tf.float32)
            return {"probabilities": tf.stack([1 - bright, bright], axis=1)}

        def _brightness(self, image):
            return tf.reduce_mean(tf.cast(tf.io.decode_jpeg(image), tf.float32)) / 255

    model = Logging()
    tf.saved_model.save(model, str(folder), signatures={"serving_default": model.__call__})


def write_records(photos, folder):
    folder.mkdir(parents=True)
    options = tf.io.TFRecordOptions("GZIP")
    with tf.io.TFRecordWriter(str(folder / "data.gz"), options) as writer:
        for path in sorted(photos.rglob("*.jpg")):
            label = LABELS.index(path.parent.name)
            height, width = tf.io.decode_jpeg(path.read_bytes()).shape[:2]
            feature = {
                "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[path.read_bytes()])),
                **{
                    name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
                    for name, value in {
                        "label": label,
                        "image_height": height,
                        "image_width": width,
                    }.items()
                },
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


def test_every_example_is_predicted_once_in_batches_that_fit_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv[:1])  # absl would read pytest's flags as its own
    samples.draw(tmp_path / "photos", count=PHOTOS, size=32)
    write_records(tmp_path / "photos", tmp_path / "examples" / "Split-test")
    log = tmp_path / "log"
    save_logging_model(tmp_path / "model" / "Format-Serving", log)
    gate = GateConfig(
        bounds=({"metric": "accuracy", "min": 0},),
        slice_by=("label", "image_size"),
        intervals="jackknife",
    )
    folders = (str(tmp_path / name) for name in ("model", "examples", "evaluation"))
    evaluate(*folders, gate, len(LABELS))
    sizes = [int(line) for line in log.read_text().split()]
    assert sum(sizes) == PHOTOS and max(sizes) <= 32
    measured = Measurements(str(tmp_path / "evaluation"), LABELS)
    assert measured.examples(()) == PHOTOS
    assert measured.get("candidate", "accuracy", None, ()).interval is not None
