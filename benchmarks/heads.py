"""Measures the accuracy of heads on the default backbone's features, with few photos per class.

    python -m benchmarks.heads PHOTOS [--a-class 10 25] [--draws 5] [--folds 5] [--repeats 3]

Heads are trained as in the Trainer, on features computed once. Draws: N random photos per class,
tested on all others. Folds: each photo is tested by a head trained on the other folds. For
comparison, a plain head is trained in the same folds on the last features of the network only:
dropout and one dense layer from random weights, with Adam at 1e-3 for 40 epochs.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

_MODEL = "efficientnet_lite0"
_BATCH = 64
HEADER = "| training | tested | rounds | accuracy | lowest | highest | s a round |"


class Photos:
    """Features of a folder of photos, and heads trained on them.

    Args:
        folder: one folder of photos a label.
    """

    def __init__(self, folder: str):
        from models import autograph, export, options, registry

        autograph.skip_keras()
        self.architecture = registry.find(_MODEL)
        paths = sorted(path for path in Path(folder).glob("*/*") if path.is_file())
        self.labels = sorted({path.parent.name for path in paths})
        size = self.architecture.IMAGE_SIZE
        self.config = options.parse({"labels": self.labels, "image_size": size})
        self.model = export.build(self.config, self.architecture)
        self.features = self._compute(paths, size)
        self._beginning = self.model.head.get_weights()

    def _compute(self, paths: list[Path], size: int):
        import tensorflow as tf

        from models import extraction, preprocessing
        from models.input import Features

        extractor = extraction.FeatureExtractor(self.model.backbone, tf.distribute.get_strategy())
        rows = []
        for start in range(0, len(paths), _BATCH):
            photos = [path.read_bytes() for path in paths[start : start + _BATCH]]
            none = tf.zeros([len(photos)], tf.int64)
            images = preprocessing.decode_and_resize(
                tf.constant(photos), none, none, none, size=size
            )
            packed = preprocessing.pack(images).numpy().tolist()
            rows.append(extractor.compute(packed, extraction.PHOTO))
        classes = np.array([self.labels.index(path.parent.name) for path in paths])
        return Features(np.concatenate(rows)[:, None], classes, len(paths), len(self.labels))

    def draws(self, a_class: int, draws: int) -> Iterator[float]:
        """Returns the accuracy of heads trained on `a_class` photos per class."""
        from models import cross_validation, phases

        photos = a_class * len(self.labels)
        own = self.architecture.TRAINING
        steps = own.epochs * phases.steps_per_epoch(own, photos)
        self.model.head.set_weights(self._beginning)
        trainer = cross_validation.HeadTrainer(self.model, self.config, own, steps, photos)
        for seed in range(draws):
            random, chosen = np.random.default_rng(seed), np.zeros(len(self.features.labels), bool)
            for label in range(len(self.labels)):
                mine = np.flatnonzero(self.features.labels == label)
                chosen[random.choice(mine, a_class, replace=False)] = True
            trainer.fit(cross_validation.select(self.features, chosen))
            others = cross_validation.select(self.features, ~chosen)
            yield float((trainer.predict(others) == others.labels).mean())

    def folds(self, folds: int, repeats: int) -> Iterator[float]:
        """Returns the cross-validated accuracy of the Trainer's heads."""
        from models import cross_validation

        for seed in range(repeats):
            trainer = dataclasses.replace(self.config.trainer, seed=seed)
            config = dataclasses.replace(self.config, trainer=trainer)
            self.model.head.set_weights(self._beginning)
            predicted = cross_validation.cross_validate(
                self.model, self.features, config, self.architecture.TRAINING, folds
            )
            yield float((predicted == self.features.labels).mean())

    def plain(self, folds: int, repeats: int) -> Iterator[float]:
        """Returns the cross-validated accuracy of plain heads in the same folds."""
        import tf_keras

        from models import cross_validation
        from models.backbones.efficientnet_lite import TOP

        values, labels = self.features.values[:, 0, :TOP].astype(np.float32), self.features.labels
        for seed in range(repeats):
            fold, right = cross_validation.stratified_folds(labels, folds, seed), 0
            for number in range(folds):
                tf_keras.utils.set_random_seed(seed)
                head = tf_keras.Sequential(
                    [
                        tf_keras.layers.Dropout(0.2),
                        tf_keras.layers.Dense(len(self.labels), activation="softmax"),
                    ]
                )
                head.compile("adam", "sparse_categorical_crossentropy")
                mine = fold == number
                head.fit(values[~mine], labels[~mine], 32, epochs=40, verbose=0)
                right += (head(values[mine]).numpy().argmax(1) == labels[mine]).sum()
            yield right / len(labels)


def table(arguments: SimpleNamespace) -> None:
    """Prints the rows."""
    photos = Photos(arguments.photos)
    count, classes = len(photos.features.labels), len(photos.labels)
    print(f"{count} photos, {classes} classes\n\n{HEADER}\n|---|---:|---:|---:|---:|---:|---:|")
    for a_class in arguments.a_class:
        tested = count - a_class * classes
        _row(f"{a_class} a class", tested, photos.draws(a_class, arguments.draws))
    rounds: dict[str, Callable] = {"": photos.folds, ", plain head": photos.plain}
    for name, validate in rounds.items():
        text = f"{arguments.folds - 1} of {arguments.folds} folds{name}"
        _row(text, count, validate(arguments.folds, arguments.repeats))


def _row(name: str, tested: int, rounds: Iterator[float]) -> None:
    began = time.perf_counter()
    scores = list(rounds)
    seconds = (time.perf_counter() - began) / len(scores)
    mean = statistics.mean(scores)
    print(
        f"| {name} | {tested} | {len(scores)} | {mean:.4f} | {min(scores):.4f} | "
        f"{max(scores):.4f} | {seconds:.1f} |",
        flush=True,
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Returns the parser of the options."""
    parser.add_argument("--a-class", type=int, nargs="*", default=[10, 25])
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)


if __name__ == "__main__":
    command = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    command.add_argument("photos", help="folder with one folder of photos per label")
    add_options(command)
    table(command.parse_args())
