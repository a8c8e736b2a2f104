"""What the Trainer's machinery costs, and how it scales over worker processes.

    python -m benchmarks.training PHOTOS [--model pawnet]

Two tables. Steps per second of `models.trainer.run_fn` (cluster strategy, metrics of every class,
checkpoints, TensorBoard) against the same model compiled and fitted by a bare tf_keras script from
arrays in memory, both with a pass over the validation photos after each epoch. Then two workers
pinned to one core each against one worker pinned to one core, with the same global batch. Each
measurement is a process of its own; sides take turns. Counted is the fastest epoch, from the end of
one to the end of the next, all callbacks included: what else runs on a machine only ever slows.
"""

import argparse
import contextlib
import itertools
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from benchmarks.prepared import prepare

MODES = ("trainer", "bare")


def run_trainer(fn_args: dict, folder: str) -> float:
    """Photos per second of run_fn, told by the lines that it logs for the terminal."""
    from models import trainer

    marks: list[tuple[float, int]] = []

    class Clock(logging.Handler):
        def emit(self, record):
            if "validation accuracy" in record.getMessage():
                marks.append((time.perf_counter(), record.progress["done"]))

    logger = logging.getLogger("pawprint.progress")
    logger.setLevel(logging.INFO)
    logger.addHandler(Clock())
    places = {
        "serving_model_dir": f"{folder}/model/Format-Serving",
        "model_run_dir": f"{folder}/model_run",
    }
    trainer.run_fn(SimpleNamespace(**fn_args | places))
    return fastest(marks)  # Zero on other workers than the chief.


def fastest(marks: list[tuple[float, int]]) -> float:
    """Photos per second in the fastest epoch, from (time, photos so far) at the ends of epochs."""
    pairs = itertools.pairwise(marks)
    return max(((b[1] - a[1]) / (b[0] - a[0]) for a, b in pairs if b[1] > a[1]), default=0.0)


def run_bare(fn_args: dict, folder: str) -> float:
    """Photos per second of what a notebook would do with the same photos and model."""
    import tensorflow as tf
    import tf_keras

    from models import registry

    config = fn_args["custom_config"]
    size, labels, options = config["image_size"], config["labels"], config["trainer"]
    batch, training = options["batch_size"], registry.find(config["model"]["name"]).TRAINING

    def load(pattern):
        spec = {"image": tf.io.FixedLenFeature([], tf.string)}
        spec["label"] = tf.io.FixedLenFeature([], tf.int64)
        records = tf.data.TFRecordDataset(tf.io.gfile.glob(pattern), "GZIP").batch(1 << 20)
        parsed = tf.io.parse_example(next(iter(records)), spec)
        images = tf.reshape(tf.io.decode_raw(parsed["image"], tf.uint8), [-1, size, size, 3])
        return tf.data.Dataset.from_tensor_slices(
            (images, tf.one_hot(parsed["label"], len(labels)))
        )

    train, validation = load(fn_args["train_files"]), load(fn_args["eval_files"])
    train = train.shuffle(len(train), seed=0).batch(batch).prefetch(tf.data.AUTOTUNE)
    model = registry.find(config["model"]["name"]).build(size, len(labels))
    optimizer = {"adamw": tf_keras.optimizers.AdamW, "rmsprop": tf_keras.optimizers.RMSprop}
    model.compile(
        optimizer[training.optimizer](training.learning_rate),
        "categorical_crossentropy",
        metrics=["accuracy"],
    )
    marks: list[tuple[float, int]] = []
    steps = len(train) * batch
    clock = tf_keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, _: marks.append((time.perf_counter(), (epoch + 1) * steps))
    )
    model.fit(
        train,
        validation_data=validation.batch(batch).prefetch(tf.data.AUTOTUNE),
        epochs=options["epochs"],
        callbacks=[clock],
        verbose=0,
    )
    return fastest(marks)


def start(
    mode: str, fn_args: dict, scratch: Path, core: int | None = None, changes=()
) -> subprocess.Popen:
    """Starts one measurement, on one core if asked, with changes to its environment."""
    scratch.mkdir(parents=True, exist_ok=True)
    file = scratch / f"fn_args-{core}.json"
    file.write_text(json.dumps(fn_args))
    command = [sys.executable, "-m", "benchmarks.training", str(file), "--measure", mode]
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    return subprocess.Popen(
        command,
        env=os.environ | dict(changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> dict[str, float]:
    """What a measurement printed: `rate`, in photos per second, and its `seconds` in all."""
    output, errors = process.communicate()
    if process.returncode:
        sys.exit(errors[-4000:])
    return json.loads(output.strip().splitlines()[-1])


def against_bare(fn_args: dict, rounds: int, scratch: Path) -> None:
    """Prints the first table."""
    rates: dict[str, list[float]] = {mode: [] for mode in MODES}
    for number in range(rounds):
        # First and second place take turns too.
        for mode in MODES if number % 2 else MODES[::-1]:
            photos = finish(start(mode, fn_args, scratch / f"{mode}-{number}"))["rate"]
            rates[mode].append(photos / fn_args["custom_config"]["trainer"]["batch_size"])
            print(f"{mode}: {rates[mode][-1]:.2f} steps/s", file=sys.stderr, flush=True)
    best = {mode: max(rates[mode]) for mode in MODES}
    print("| steps/s | " + " | ".join(f"round {n + 1}" for n in range(rounds)) + " | best |")
    print("|---|" + "---:|" * (rounds + 1))
    for mode, name in (("bare", "bare tf_keras, arrays in memory"), ("trainer", "the Trainer")):
        cells = " | ".join(f"{rate:.2f}" for rate in rates[mode])
        print(f"| {name} | {cells} | {best[mode]:.2f} |")
    print(f"\nThe Trainer's speed: {best['trainer'] / best['bare']:.1%} of bare tf_keras\n")


def scaling(fn_args: dict, rounds: int, scratch: Path) -> None:
    """Prints the second table."""
    batch = fn_args["custom_config"]["trainer"]["batch_size"] * 2
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        print("Scaling over workers: needs two cores")
        return
    rates: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for workers in (1, 2):
            folder = scratch / f"{workers}-workers-{number}"
            changed = with_trainer(fn_args, batch_size=batch // workers, collective="ring")
            processes = [
                start("trainer", changed, folder, core, changes)
                for core, changes in zip(cores, clusters(workers), strict=False)
            ]
            rates[workers].append(max(finish(process)["rate"] for process in processes))
    one, two = (max(rates[workers]) for workers in (1, 2))
    print(f"| global batch {batch} | photos/s | speed-up | efficiency |")
    print("|---|---:|---:|---:|")
    print(f"| one worker, one core | {one:.1f} | 1.00 | 100 % |")
    print(f"| two workers, one core each | {two:.1f} | {two / one:.2f} | {two / one / 2:.0%} |")


def with_trainer(fn_args: dict, **settings) -> dict:
    """The arguments with other settings of the trainer."""
    config = fn_args["custom_config"]
    return fn_args | {"custom_config": config | {"trainer": config["trainer"] | settings}}


def clusters(workers: int) -> list[dict[str, str]]:
    """The environments of the workers of a cluster on this machine; of one alone, nothing."""
    if workers == 1:
        return [{}]
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(workers)]
        for taken in sockets:
            taken.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{taken.getsockname()[1]}" for taken in sockets]
    tasks = [{"type": "worker", "index": index} for index in range(workers)]
    return [
        {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task})}
        for task in tasks
    ]


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", help="a folder with one folder of photos a label")
    parser.add_argument("--model", default="pawnet")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prepared", type=Path, help="keep, or find, the transformed examples")
    parser.add_argument("--only", choices=("bare", "scaling"), help="one of the two tables")
    parser.add_argument("--measure", choices=MODES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        path = Path(arguments.photos)
        run = run_trainer if arguments.measure == "trainer" else run_bare
        began = time.perf_counter()
        rate = run(json.loads(path.read_text()), str(path.parent))
        print(json.dumps({"rate": rate, "seconds": time.perf_counter() - began}))
        return
    with tempfile.TemporaryDirectory() as folder:
        fn_args = prepare(arguments.photos, arguments.prepared or Path(folder, "prepared"))
        fn_args["custom_config"]["model"] = {"name": arguments.model}
        fn_args = with_trainer(fn_args, epochs=arguments.epochs)
        if arguments.only != "scaling":
            against_bare(fn_args, arguments.rounds, Path(folder))
        if arguments.only != "bare":
            scaling(fn_args, arguments.rounds, Path(folder))


if __name__ == "__main__":
    main()
