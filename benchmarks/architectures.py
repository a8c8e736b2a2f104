"""Test accuracy of the architectures on your photos, over several seeds, by the Trainer itself.

    python -m benchmarks.architectures PHOTOS [--models article_cnn pawnet] [--seeds 3]

Every model is trained as the pipeline trains it, with its own defaults, and asked through its
`serving_default` signature for the photos that it was not trained on: those of the validation and
of the test split, neither of which has a part in the training.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from benchmarks.prepared import prepare

_BATCH = 32


def measure(fn_args: dict, model: str, seed: int, settings: dict) -> dict:
    """Trains one model; its accuracy on the photos held out, and the training's seconds."""
    from models import trainer

    custom_config = fn_args["custom_config"] | {"model": {"name": model}}
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
        right = held_out(fn_args["records"], f"{folder}/model/Format-Serving")
    return {"model": model, "seed": seed, "seconds": seconds} | right


def held_out(records: dict, model: str) -> dict:
    """Right answers and photos in the validation and test splits."""
    import tensorflow as tf

    predict = tf.saved_model.load(model).signatures["serving_default"]
    right = photos = 0
    for split in ("validation", "test"):
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
    """Prints one row a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", help="a folder with one folder of photos a label")
    parser.add_argument("--models", nargs="+", default=["article_cnn", "pawnet"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="in place of each architecture's own")
    parser.add_argument("--prepared", type=Path, help="keep, or find, the transformed examples")
    arguments = parser.parse_args()
    settings = {"epochs": arguments.epochs} if arguments.epochs else {}
    print("| model | epochs | held-out photos | accuracy by seed | mean | Trainer, s |")
    print("|---|---:|---:|---|---:|---:|", flush=True)
    with contextlib.ExitStack() as stack:
        root = arguments.prepared or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        fn_args = prepare(arguments.photos, root)
        for model in arguments.models:
            runs = [measure(fn_args, model, seed, settings) for seed in range(arguments.seeds)]
            print(row(model, runs, arguments.epochs), flush=True)


def row(model: str, runs: list[dict], epochs: int | None) -> str:
    """A row of the table."""
    from models import registry

    scores = [run["right"] / run["photos"] for run in runs]
    seconds = statistics.median(run["seconds"] for run in runs)
    epochs = epochs or registry.find(model).TRAINING.epochs
    by_seed = ", ".join(f"{score:.3f}" for score in scores)
    mean = statistics.mean(scores)
    return f"| {model} | {epochs} | {runs[0]['photos']} | {by_seed} | {mean:.3f} | {seconds:.0f} |"


if __name__ == "__main__":
    main()
