"""Checkpoints, seeds and iterators of the processes of a training."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import weakref
from types import SimpleNamespace

import pytest
import tensorflow as tf
import tf_keras

from models import input as examples
from models import options, registry, session
from models.distributed import cluster
from tests.models.test_trainer import fn_args


@pytest.fixture
def session_of(transformed, tmp_path):
    """A training, as the process of a rank begins it."""

    def session_of(rank: int, workers: int = 2, strategy=None, **trainer):
        args = fn_args(transformed, tmp_path)
        args.custom_config["trainer"] |= trainer
        config = options.parse(args.custom_config)
        task = cluster.ClusterTask("worker", rank, workers)
        architecture = registry.find(config.model.name)
        strategy = strategy or tf.distribute.get_strategy()
        return session.Session(args, config, architecture, task, strategy)

    return session_of


def test_each_process_and_each_attempt_draws_its_own_order_and_changes(session_of):
    sessions = [session_of(rank) for rank in (0, 1)]
    [plans] = zip(*(each.phases() for each in sessions), strict=True)

    def drawn(rank: int, done: int):
        met = []

        def fit(batches, **kwargs):
            first = itertools.islice(batches, 5)
            photos = b"".join(images.numpy().tobytes() for images, _ in first)
            met.extend([photos, float(tf.random.uniform([]))])

        phase = dataclasses.replace(plans[rank], model=SimpleNamespace(fit=fit))
        session.fit(phase, sessions[rank], done=done)
        return tuple(met)

    cases = [(0, 0), (1, 0), (0, 2), (1, 2)]
    orders, changes = zip(*(drawn(*case) for case in cases), strict=True)
    assert len(set(orders)) == len(set(changes)) == 4
    assert drawn(1, 2) == (orders[3], changes[3]), "and the same one again"


def test_too_few_examples_for_the_processes_are_told_before_training(session_of):
    session_of(0, workers=40)
    with pytest.raises(ValueError, match="40 training examples are too few for 41 processes"):
        session_of(0, workers=41)


@pytest.mark.parametrize(("found", "shared"), [([3, 3], True), ([3, 0], False), ([0, -1], False)])
def test_processes_that_see_other_checkpoints_do_not_train(monkeypatch, found, shared):
    given = []
    monkeypatch.setattr(session, "_all_gather", lambda _, value: given.append(value) or found)
    backup = SimpleNamespace(folder="/local", exists=lambda: found[1] >= 0)
    if shared:
        session._check_same_checkpoint(None, backup, found[1])
    else:
        with pytest.raises(ValueError, match=r"is not shared: /local .*: \[\d, -?\d\]"):
            session._check_same_checkpoint(None, backup, max(found[1], 0))
    assert given[-1] == found[1]


def test_every_validation_takes_each_photo_once_by_one_and_the_same_iterator(
    session_of, monkeypatch
):
    # The 13 photos make five batches, the last of them a call of its own.
    sizes = {"batch_size": 3, "steps_per_execution": 2, "epochs": 3, "learning_rate": 1e-12}
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    begun = session_of(0, 1, strategy, class_weights=None, **sizes)
    [plan] = begun.phases()
    assert plan.validation_steps == 5
    iterators, losses = [], []

    def begin(dataset):
        iterators.append(dataset._iterator)
        return dataset._iterator

    def score(epoch, logs):
        losses.append(logs["val_loss"])

    monkeypatch.setattr(examples.PersistentIterator, "__iter__", begin)
    scores = tf_keras.callbacks.LambdaCallback(on_epoch_end=score)
    session.fit(plan, begun, callbacks=[scores])
    training, *validations = map(id, iterators)
    assert len(validations) == 3 and len(set(validations)) == 1 and training not in validations
    once = examples.evaluation(plan.validation, 13, 1, examples.Shard(), cache="none").take(1)
    expected = plan.model.evaluate(once, verbose=0, return_dict=True)["loss"]
    assert losses == pytest.approx([expected] * 3, rel=1e-5)


def test_iterators_end_while_the_training_goes_on():
    split = examples.PersistentIterator(tf.data.Dataset.range(3).repeat())
    split.itself = split  # As in Keras, where only the garbage collector finds it.
    gone = weakref.ref(iter(split))
    splits = [split]
    del split
    examples.close(splits)
    for thread in threading.enumerate():
        if thread.name == "iterators":
            thread.join()
    assert not splits and gone() is None
