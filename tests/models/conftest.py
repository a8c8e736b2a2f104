"""One small transformed data set, shared by the tests that train."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import pytest

from data.record import records
from models import autograph
from tests.models import drawn

IMAGE_SIZE = 48
FLAGS = ["--runner=FnApiRunner"]


@pytest.fixture(scope="session", autouse=True)
def quick_tracing():
    """Models that a test builds by itself are traced as those of a training."""
    autograph.skip_keras()


@pytest.fixture(scope="session")
def transformed(tmp_path_factory) -> SimpleNamespace:
    """Both encodings of drawn photos through the real tf.Transform.

    `root/transform` holds Transform's output, `root/{train,eval}` transformed examples in files as
    its executor writes them, `root/raw/{train,eval}.tfrecord` the records.
    """
    root = tmp_path_factory.mktemp("transformed")
    splits = {"train": (40, 0), "eval": (13, 1000)}
    for split, (count, seed) in splits.items():
        rows = [
            drawn.record(content, records.ENCODINGS[i % 2], label)
            for i, (content, label) in enumerate(drawn.photos(count, seed))
        ]
        _write(root / "raw" / f"{split}.tfrecord", rows)
    transform(root / "raw", root, splits, IMAGE_SIZE)
    return SimpleNamespace(root=root, image_size=IMAGE_SIZE, labels=drawn.LABELS, counts=splits)


def _write(path: Path, rows) -> None:
    import tensorflow as tf

    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for row in rows:
            writer.write(row)


def transform(raw: Path, root: Path, splits, image_size: int) -> None:
    """Writes `root/transform` and the transformed examples of the splits of `raw`."""
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.beam.tft_beam_io import transform_fn_io
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils
    from tfx_bsl.coders import example_coder
    from tfx_bsl.tfxio import tf_example_record

    from models import features, preprocessing

    spec = {name: tf.io.FixedLenFeature([], tf.int64) for name in features.PREPROCESSED}
    spec[features.IMAGE] = tf.io.FixedLenFeature([], tf.string)
    spec[features.LABEL] = tf.io.FixedLenFeature([], tf.int64)
    schema = schema_utils.schema_from_feature_spec(spec)
    metadata = dataset_metadata.DatasetMetadata(schema)
    # Transform's executor writes this beside the graph; the library alone does not.
    metadata_io.write_metadata(metadata, os.fspath(root / "transform" / "metadata"))

    def preprocess(inputs):
        return preprocessing.preprocessing_fn(inputs, {"image_size": image_size})

    with beam.Pipeline(argv=FLAGS) as pipeline, tft_beam.Context(os.fspath(root / "tmp")):
        graph = None
        for split in splits or ["train"]:
            source = tf_example_record.TFExampleRecord(
                os.fspath(raw / f"{split}.tfrecord"), schema=metadata.schema
            )
            table = (
                pipeline | f"read {split}" >> source.BeamSource(),
                source.TensorAdapterConfig(),
            )
            if graph is None:
                graph = table | "analyze" >> tft_beam.AnalyzeDataset(preprocess)
                _ = graph | transform_fn_io.WriteTransformFn(os.fspath(root / "transform"))
            if not splits:
                continue
            rows, _ = (table, graph) | f"transform {split}" >> tft_beam.TransformDataset(
                output_record_batches=True
            )
            coder = example_coder.RecordBatchToExamplesEncoder()
            _ = (
                rows
                | f"encode {split}" >> beam.FlatMapTuple(lambda batch, _, c=coder: c.encode(batch))
                | f"write {split}"
                >> beam.io.WriteToTFRecord(
                    os.fspath(root / split / "transformed"), file_name_suffix=".gz"
                )
            )
