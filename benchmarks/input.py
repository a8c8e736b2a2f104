"""Measures the input pipeline of the Trainer against that of a plain TFX template.

    python -m benchmarks.input PHOTOS

Ours: bytes packed by Transform, read by `models.input.training`. The template: float32 images
written by its Transform, read by TFX's `data_accessor.tf_dataset_factory`, repeated and prefetched
as in TFX's examples. Both read the same images at 150x150 without training; each measurement runs
in its own process; sides alternate. `first pass` reads the files; `later passes` is the steady
state of a training: ours reads its cache, the template reads the files again. Ours without cache is
shown too. The best round counts, because other load can only slow it down.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.prepared import prepare

BATCH = 16
SECONDS = 4
SIDES = {
    "template": "plain TFX, float images",
    "none": "models/input.py, no cache",
    "memory": "models/input.py, cache in memory",
    "file": "models/input.py, cache in a file",
}


def template_batches(fn_args: dict):
    """The training data set of a TFX template."""
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tensorflow_transform import TFTransformOutput
    from tfx.components.util import tfxio_utils
    from tfx.types import standard_artifacts
    from tfx_bsl.tfxio import dataset_options

    examples = standard_artifacts.Examples()
    examples.uri = str(Path(fn_args["train_files"][0]).parent.parent)
    examples.split_names = '["train", "validation"]'
    factory = tfxio_utils.get_tf_dataset_factory_from_artifact([examples], ["Trainer"])
    schema: schema_pb2.Schema = TFTransformOutput(
        fn_args["transform_output"]
    ).transformed_metadata.schema
    options = dataset_options.TensorFlowDatasetOptions(batch_size=BATCH, label_key="label")
    return factory(fn_args["train_files"], options, schema).repeat()


def our_batches(fn_args: dict, cache: str):
    """The training data set of the Trainer."""
    from models import input as examples

    config = fn_args["custom_config"]
    source = examples.ExampleFiles.of(
        fn_args["train_files"],
        config["image_size"],
        len(config["labels"]),
        config["counts"]["train"],
    )
    return examples.training(source, BATCH, examples.Shard(), seed=0, cache=cache)


def measure(side: str, fn_args: dict, folder: str) -> dict[str, float]:
    """Returns images per second of the first pass and of later passes."""
    if side == "template":
        batches = template_batches(fn_args)
    else:
        batches = our_batches(fn_args, f"{folder}/cache" if side == "file" else side)
    count = fn_args["custom_config"]["counts"]["train"]
    stream, met = iter(batches), 0
    began = time.perf_counter()
    while met < count:
        met += len(_images(next(stream)))
    first = met / (time.perf_counter() - began)
    began, met = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS:
        met += len(_images(next(stream)))
    return {"first": first, "later": met / (time.perf_counter() - began)}


def _images(batch):
    features = batch[0]
    return features["image"] if isinstance(features, dict) else features


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", help="folder with one folder of photos per label")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prepared", type=Path, help="folder that caches the transformed examples")
    parser.add_argument("--measure", nargs=2, metavar=("SIDE", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        side, file = arguments.measure
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(side, json.loads(Path(file).read_text()), folder)))
        return
    results: dict[str, list[dict]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.prepared or Path(folder)
        model = "model.name=pawnet"  # Of 150x150 pixels, as the template's.
        prepare(arguments.photos, root / "ours", model)
        prepare(arguments.photos, root / "template", model, template=True)
        for number in range(arguments.rounds):
            for side in list(SIDES)[:: 1 if number % 2 else -1]:
                where = root / ("template" if side == "template" else "ours") / "fn_args.json"
                command = [sys.executable, "-m", "benchmarks.input", arguments.photos]
                done = subprocess.run(
                    [*command, "--measure", side, str(where)],
                    capture_output=True,
                    text=True,
                    env=os.environ,
                    check=False,
                )
                if done.returncode:
                    sys.exit(done.stderr[-4000:])
                results[side].append(json.loads(done.stdout.strip().splitlines()[-1]))
    print("| images/s at 150x150 | first pass | later passes | against the template |")
    print("|---|---:|---:|---:|")
    later = {side: best(results[side], "later") for side in SIDES}
    for side, name in SIDES.items():
        first = best(results[side], "first")
        ratio = later[side] / later["template"]
        print(f"| {name} | {first:,.0f} | {later[side]:,.0f} | {ratio:.1f} x |")


def best(runs: list[dict], which: str) -> float:
    """Returns the highest rates of a side."""
    return max(run[which] for run in runs)


if __name__ == "__main__":
    main()
