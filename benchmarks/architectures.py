"""Measures the held-out accuracy to expect from N photos.

    python -m benchmarks.architectures PHOTOS [--models efficientnet_lite0:fast pawnet] [--seeds 3]

Prints two tables. The first is that of `benchmarks.heads`: heads trained on few photos, and
cross-validated. For the second, the Trainer trains every model with its defaults, and its
`serving_default` signature predicts the test split. The validation split is added unless it took
part in the training: fine-tuning selects the best epoch on it. `NAME:PRESET` names a preset; the
splits are those of the pipeline.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from benchmarks import heads
from benchmarks.prepared import prepare

_BATCH = 32


def measure(fn_args: dict, model: str, seed: int, settings: dict) -> dict:
    """Trains one model; returns its held-out accuracy and the seconds of the training."""
    from models import trainer

    name, _, preset = model.partition(":")
    custom_config = fn_args["custom_config"] | {"model": {"name": name}}
    settings = settings | ({"preset": preset} if preset else {})
    custom_config["trainer"] = custom_config["trainer"] | {"seed": seed} | settings
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        trainer.run_fn(
            SimpleNamespace(
                **fn_args
                | {
                    "custom_config": custom_config,
                    "serving_model_dir": f"{folder}/model/Format-Serving",
                    "model_run_dir": f"{folder}/model_run",
                }
            )
        )
        seconds = time.perf_counter() - began
        splits = ["test"] if preset in ("balanced", "best") else ["validation", "test"]
        right = held_out(fn_args["records"], f"{folder}/model/Format-Serving", splits)
    return {"model": model, "seed": seed, "seconds": seconds} | right


def held_out(records: dict, model: str, splits: list[str]) -> dict:
    """Returns the number of correct predictions and of photos in some splits."""
    import tensorflow as tf

    predict = tf.saved_model.load(model).signatures["serving_default"]
    right = photos = 0
    for split in splits:
        if split not in records["patterns"]:
            continue
        files = tf.io.gfile.glob(f"{records['path']}/{records['patterns'][split]}")
        compression = "GZIP" if files[0].endswith(".gz") else None
        for batch in tf.data.TFRecordDataset(sorted(files), compression).batch(_BATCH):
            spec = {"label": tf.io.FixedLenFeature([], tf.int64)}
            labels = tf.io.parse_example(batch, spec)["label"]
            found = predict(examples=batch)["label_index"]
            right += int(tf.reduce_sum(tf.cast(found == labels, tf.int32)))
            photos += len(labels)
    return {"right": right, "photos": photos}


def main() -> None:
    """Prints one row per model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", help="folder with one folder of photos per label")
    models = ["efficientnet_lite0:fast", "pawnet"]
    parser.add_argument("--models", nargs="*", default=models)
    heads.add_options(parser)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="default: that of each architecture")
    parser.add_argument("--prepared", type=Path, help="folder that caches the transformed examples")
    arguments = parser.parse_args()
    heads.table(arguments)
    if not arguments.models:
        return
    settings = {"epochs": arguments.epochs} if arguments.epochs else {}
    print("\n| model | held-out photos | accuracy by seed | mean | Trainer, s |")
    print("|---|---:|---|---:|---:|", flush=True)
    with contextlib.ExitStack() as stack:
        root = arguments.prepared or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for model in arguments.models:
            name = model.partition(":")[0]
            fn_args = prepare(arguments.photos, root / name, f"model.name={name}")
            runs = [measure(fn_args, model, seed, settings) for seed in range(arguments.seeds)]
            print(row(model, runs), flush=True)


def row(model: str, runs: list[dict]) -> str:
    """A row of the table."""
    scores = [run["right"] / run["photos"] for run in runs]
    seconds = statistics.median(run["seconds"] for run in runs)
    by_seed = ", ".join(f"{score:.3f}" for score in scores)
    mean = statistics.mean(scores)
    return f"| {model} | {runs[0]['photos']} | {by_seed} | {mean:.3f} | {seconds:.0f} |"


if __name__ == "__main__":
    main()
