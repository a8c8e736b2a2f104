"""Compares the data components with those of a plain TFX template on the same photos.

    python -m benchmarks.data_components PHOTOS

PHOTOS has one folder per label. The template stores TFRecorder's raw pixels, computes statistics of
every feature, infers the schema, and its Transform writes float images. pawprint stores JPEG,
excludes the pixels from the statistics, has a given schema and writes bytes. Each side runs in its
own process, one after the other, without imports.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
COUNTED = ("ImportExampleGen", "StatisticsGen", "Transform")


def template_preprocessing(inputs):
    """The template's preprocessing: decodes pixels, resizes, float32 in [0, 1]."""
    import tensorflow as tf

    def image(item):
        text, height, width = item
        pixels = tf.io.decode_raw(tf.io.decode_base64(text), tf.uint8)
        return tf.image.resize(tf.reshape(pixels, tf.stack([height, width, 3])), [150, 150]) / 255

    columns = [tf.reshape(inputs[n], [-1]) for n in ("image", "image_height", "image_width")]
    images = tf.map_fn(image, tuple(columns), fn_output_signature=tf.float32)
    return {"image": images, "label": inputs["label"]}


def run_to_transform(side: str, photos: str, root: str, *settings: str):
    """Converts the photos and runs one side's components.

    Args:
        side: `ours` or `template`.
        photos: folder of photos.
        root: folder for everything that is made.
        settings: of the config, as of `--set`.

    Returns:
        The config with its records, and the components' seconds by name.
    """
    from pipeline.config.files import load_config
    from pipeline.run.ingest import DataSource, ingest

    encoding = "jpeg" if side == "ours" else "raw"
    config = load_config(None, [f"root={root}", f"data.encoding={encoding}", *settings])
    Path(root).mkdir(parents=True, exist_ok=True)
    records = ingest(DataSource("images", photos), config, lambda done, total: None).records
    config = config.model_copy(update={"records": records})

    from tfx import v1 as tfx
    from tfx.orchestration.pipeline import RunOptions

    from pipeline.pipeline import create_pipeline
    from pipeline.run.dag_runner import LocalDagRunner

    seconds: dict[str, float] = {}

    def listener(report):
        if report.error:
            raise report.error
        seconds[report.node_id] = report.seconds

    pipeline = create_pipeline(config) if side == "ours" else template(config, tfx)
    up_to_transform = RunOptions(to_nodes=["Transform"])
    LocalDagRunner(time.strftime("%Y%m%d-%H%M%S"), listener).run(pipeline, up_to_transform)
    return config, seconds


def template(config, tfx):
    """Creates the data components of TFX's templates."""
    from pipeline import placement

    records = config.records
    examples = tfx.components.ImportExampleGen(
        input_base=records.path,
        input_config=tfx.proto.Input(
            splits=[tfx.proto.Input.Split(name=s, pattern=p) for s, p in records.patterns.items()]
        ),
    )
    statistics = tfx.components.StatisticsGen(examples=examples.outputs["examples"])
    schema = tfx.components.SchemaGen(
        statistics=statistics.outputs["statistics"], infer_feature_shape=True
    )
    transform = tfx.components.Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="benchmarks.data_components.template_preprocessing",
        splits_config=tfx.proto.SplitsConfig(analyze=["train"], transform=list(records.patterns)),
    )
    return tfx.dsl.Pipeline(
        pipeline_name="template",
        pipeline_root=str(Path(config.root) / "pipeline"),
        components=[examples, statistics, schema, transform],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(placement.metadata_file(config))
        ),
        beam_pipeline_args=list(config.beam.pipeline_args),
    )


def main() -> None:
    """Runs both sides and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", help="folder with one folder of photos per label")
    parser.add_argument("--side", choices=("ours", "template"), help=argparse.SUPPRESS)
    parser.add_argument("--root", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        _, seconds = run_to_transform(arguments.side, arguments.photos, arguments.root)
        print(json.dumps({name: seconds[name] for name in COUNTED}))
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for side in ("template", "ours"):
            command = [sys.executable, "-m", "benchmarks.data_components", arguments.photos]
            done = subprocess.run(
                [*command, "--side", side, "--root", str(Path(folder) / side)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                sys.exit(done.stderr[-4000:])
            results[side] = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{'seconds':<18}{'template':>10}{'ours':>10}{'ratio':>8}")
    totals = {side: sum(seconds.values()) for side, seconds in results.items()}
    rows = [(name, *(results[side][name] for side in results)) for name in COUNTED]
    for name, plain, ours in [*rows, ("together", *totals.values())]:
        print(f"{name:<18}{plain:>10.1f}{ours:>10.1f}{ours / plain:>8.2f}")


if __name__ == "__main__":
    main()
