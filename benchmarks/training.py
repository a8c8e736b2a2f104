"""Measures the overhead of the Trainer and its scaling over worker processes.

    python -m benchmarks.training PHOTOS [--model pawnet]

Prints two tables. The first compares steps per second of `models.trainer.run_fn` (cluster strategy,
metrics per class, checkpoints, TensorBoard) with a bare tf_keras script that fits the same model on
arrays in memory, both with validation after each epoch. They run in one process and alternate by
epoch, so that other load affects both equally. The script runs with one step per call, the default
of Keras, and with as many steps per call as the Trainer. The second table compares two workers on a
core each with one worker on one core, with the same global batch, by their fastest epoch. An epoch
is timed from its start to the start of the next, callbacks included.
"""

import argparse
import contextlib
import itertools
import json
import logging
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

from benchmarks.prepared import prepare

BARE = {"against bare": "a call for every step", "against like": "as many steps a call"}
MODES = ("alone", *BARE, "against untracked")
Training = Callable[[Callable[..., None]], None]
"""A training that calls its argument at the end of every epoch."""


class Turns:
    """Alternates two trainings of one process by epoch, and times the epochs.

    Attributes:
        seconds: wall-clock and processor seconds of every epoch, of either training.
    """

    def __init__(self, *trainings: Training):
        """Runs both trainings to their ends."""
        self.seconds: tuple[list[tuple[float, float]], ...] = ([], [])
        self._turn = (threading.Semaphore(0), threading.Semaphore(0))
        self._over = [False, False]
        self._began = (0.0, 0.0)
        threads = [
            threading.Thread(target=self._run, args=(side, training))
            for side, training in enumerate(trainings)
        ]
        for thread in threads:
            thread.start()
        self._turn[0].release()
        for thread in threads:
            thread.join()

    def _run(self, side: int, training: Training) -> None:
        self._wait(side)
        try:
            training(lambda *_: self._end_epoch(side))
        finally:
            self._over[side] = True
            self._turn[1 - side].release()

    def _wait(self, side: int) -> None:
        if not self._over[1 - side]:  # the other training may have fewer epochs
            self._turn[side].acquire()
        self._began = time.perf_counter(), time.process_time()

    def _end_epoch(self, side: int) -> None:
        wall, processor = self._began
        self.seconds[side].append((time.perf_counter() - wall, time.process_time() - processor))
        self._turn[1 - side].release()
        self._wait(side)


def run_in_turns(fn_args: dict, folder: str, other: Training) -> list:
    """Returns pairs of seconds per epoch of another training and of run_fn, without the first."""
    turns = Turns(other, lambda end: run_trainer(fn_args, f"{folder}/measured", end))
    return list(zip(*turns.seconds, strict=True))[1:]


def run_alone(fn_args: dict, folder: str) -> dict:
    """Returns images per second in the fastest later epoch of run_fn, and its total seconds."""
    began = time.perf_counter()
    marks: list[tuple[float, int]] = []
    run_trainer(fn_args, folder, lambda done: marks.append((time.perf_counter(), done)))
    seconds = time.perf_counter() - began
    pairs = itertools.pairwise(marks)  # empty on workers other than the chief
    rates = [(photos - before) / (end - start) for (start, before), (end, photos) in pairs]
    return {"rate": max(rates, default=0.0), "seconds": seconds}


def run_trainer(fn_args: dict, folder: str, on_epoch_end: Callable[[int], None]) -> None:
    """Trains with run_fn; its progress log marks the ends of epochs."""
    from models import trainer

    thread = threading.get_ident()

    class Epochs(logging.Handler):
        # Replaces emit, whose lock would block the other training.
        def handle(self, record):
            mine = record.thread == thread and "validation accuracy" in record.getMessage()
            if mine and not record.progress["finished"]:  # repeats the last score
                on_epoch_end(record.progress["done"])

    logger = logging.getLogger("pawprint.progress")
    logger.setLevel(logging.INFO)
    logger.addHandler(Epochs())
    places = {
        "serving_model_dir": f"{folder}/model/Format-Serving",
        "model_run_dir": f"{folder}/model_run",
    }
    trainer.run_fn(SimpleNamespace(**fn_args | places))


def train_bare(fn_args: dict, on_epoch_end: Callable[[], None], steps_a_call: int = 1) -> None:
    """Trains the same model on the same photos in memory, with tf_keras only."""
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
        labels_ = tf.one_hot(parsed["label"], len(labels))
        return tf.data.Dataset.from_tensor_slices((images, labels_))

    train, validation = load(fn_args["train_files"]), load(fn_args["eval_files"])
    train = train.shuffle(len(train), seed=0).batch(batch).prefetch(tf.data.AUTOTUNE)
    model = registry.find(config["model"]["name"]).build(size, len(labels))
    optimizer = {"adamw": tf_keras.optimizers.AdamW, "rmsprop": tf_keras.optimizers.RMSprop}
    model.compile(
        optimizer[training.optimizer](training.learning_rate),
        "categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=steps_a_call,
    )

    class Epochs(tf_keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            on_epoch_end()

    model.fit(
        train,
        validation_data=validation.batch(batch).prefetch(tf.data.AUTOTUNE),
        epochs=options["epochs"],
        callbacks=[Epochs()],
        verbose=0,
    )


def start(
    mode: str, fn_args: dict, scratch: Path, core: int | None = None, changes=()
) -> subprocess.Popen:
    """Starts one measurement, optionally on one core and with other environment variables."""
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


def finish(process: subprocess.Popen):
    """Returns the output of a measurement."""
    output, errors = process.communicate()
    if process.returncode:
        sys.exit(errors[-4000:])
    return json.loads(output.strip().splitlines()[-1])


def against_bare(fn_args: dict, scratch: Path) -> None:
    """Prints the first table."""
    config = fn_args["custom_config"]
    batch = config["trainer"]["batch_size"]
    steps = math.ceil(config["counts"]["train"] / batch)
    epochs = config["trainer"]["epochs"] - 1
    print(f"Steps/s over {epochs} epochs of {steps} steps of {batch} photos, medians:\n")
    print("| bare tf_keras with | bare tf_keras | the Trainer | its speed | by processor time |")
    print("|---|---:|---:|---:|---:|")
    for mode, name in BARE.items():
        pairs = finish(start(mode, fn_args, scratch / mode.replace(" ", "-")))
        bare, ours = (steps / statistics.median(pair[side][0] for pair in pairs) for side in (0, 1))
        wall, processor = speeds(pairs)
        print(f"| {name} | {bare:.2f} | {ours:.2f} | {wall:.1%} | {processor:.1%} |", flush=True)
    print()


def speeds(pairs: list) -> tuple[float, float]:
    """Returns the relative speed of the second training by wall clock and processor time."""
    return tuple(
        statistics.median(first[kind] / second[kind] for first, second in pairs) for kind in (0, 1)
    )


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
                start("alone", changed, folder, core, changes)
                for core, changes in zip(cores, clusters(workers), strict=False)
            ]
            rates[workers].append(max(finish(process)["rate"] for process in processes))
    one, two = (max(rates[workers]) for workers in (1, 2))
    print(f"| global batch {batch} | photos/s | speed-up | efficiency |")
    print("|---|---:|---:|---:|")
    print(f"| one worker, one core | {one:.1f} | 1.00 | 100 % |")
    print(f"| two workers, one core each | {two:.1f} | {two / one:.2f} | {two / one / 2:.0%} |")


def measure(mode: str, fn_args: dict, folder: Path) -> dict | list:
    """Runs a measurement in a child process."""
    if mode == "alone":
        return run_alone(fn_args, str(folder))
    if mode in BARE:
        calls = fn_args["custom_config"]["trainer"]["steps_per_execution"]
        calls = calls if mode == "against like" else 1
        return run_in_turns(fn_args, str(folder), lambda end: train_bare(fn_args, end, calls))
    config = fn_args["custom_config"] | {"wandb": {"mode": "disabled"}}
    untracked = fn_args | {"custom_config": config}
    return run_in_turns(
        fn_args, str(folder), lambda end: run_trainer(untracked, f"{folder}/untracked", end)
    )


def with_trainer(fn_args: dict, **settings) -> dict:
    """Returns the arguments with other settings of the trainer."""
    config = fn_args["custom_config"]
    return fn_args | {"custom_config": config | {"trainer": config["trainer"] | settings}}


def clusters(workers: int) -> list[dict[str, str]]:
    """Returns the environment of each worker of a local cluster; empty for a single worker."""
    if workers == 1:
        return [{}]
    addresses = _free_addresses(workers)
    tasks = ({"type": "worker", "index": index} for index in range(workers))
    return [
        {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task})}
        for task in tasks
    ]


def _free_addresses(count: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [f"127.0.0.1:{bound.getsockname()[1]}" for bound in sockets]


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", help="folder with one folder of photos per label")
    parser.add_argument("--model", default="pawnet")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=2, help="rounds of the second table")
    parser.add_argument("--prepared", type=Path, help="folder that caches the transformed examples")
    parser.add_argument("--only", choices=("bare", "scaling"), help="print only one table")
    parser.add_argument("--measure", choices=MODES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        path = Path(arguments.photos)
        print(json.dumps(measure(arguments.measure, json.loads(path.read_text()), path.parent)))
        return
    with tempfile.TemporaryDirectory() as folder:
        fn_args = prepare(
            arguments.photos,
            arguments.prepared or Path(folder, "prepared"),
            f"model.name={arguments.model}",
            "trainer.batch_size=16",
        )
        fn_args = with_trainer(fn_args, epochs=arguments.epochs)
        if arguments.only != "scaling":
            against_bare(fn_args, Path(folder))
        if arguments.only != "bare":
            scaling(fn_args, arguments.rounds, Path(folder))


if __name__ == "__main__":
    main()
