"""What the processes of one training share, and what each draws for itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import tensorflow as tf

from models import cluster, options, registry, session
from tests.models.test_trainer import fn_args


@pytest.fixture
def plan_of(transformed, tmp_path):
    """A training's settings and plan, as the process of a rank makes it."""

    def plan_of(rank: int, workers: int = 2):
        args = fn_args(transformed, tmp_path)
        config = options.parse(args.custom_config)
        task = cluster.Task("worker", rank, workers)
        architecture = registry.find(config.model.name)
        strategy = tf.distribute.get_strategy()
        return config, session.make_plan(args, config, architecture, task, strategy)

    return plan_of


def test_each_process_and_each_attempt_draws_its_own_order_and_changes(plan_of):
    def drawn(rank: int, done: int):
        met = []

        def fit(batches, **kwargs):
            photos = b"".join(images.numpy().tobytes() for images, _ in batches.take(5))
            met.extend([photos, float(tf.random.uniform([]))])

        model = SimpleNamespace(distribute_strategy=tf.distribute.get_strategy(), fit=fit)
        config, plan = plan_of(rank)
        session.fit(model, plan, config, done=done)
        return tuple(met)

    cases = [(0, 0), (1, 0), (0, 2), (1, 2)]
    orders, changes = zip(*(drawn(*case) for case in cases), strict=True)
    assert len(set(orders)) == len(set(changes)) == 4
    assert drawn(1, 2) == (orders[3], changes[3]), "and the same one again"


def test_too_few_examples_for_the_processes_are_told_before_training(plan_of):
    plan_of(0, workers=40)
    with pytest.raises(ValueError, match="40 training examples are too few for 41 processes"):
        plan_of(0, workers=41)


@pytest.mark.parametrize(("found", "shared"), [([3, 3], True), ([3, 0], False), ([0, -1], False)])
def test_processes_that_see_other_checkpoints_do_not_train(monkeypatch, found, shared):
    given = []
    monkeypatch.setattr(session, "_gather", lambda _, value: given.append(value) or found)
    backup = SimpleNamespace(folder="/local", is_there=lambda: found[1] >= 0)
    if shared:
        session._agree(None, backup, found[1])
    else:
        with pytest.raises(ValueError, match=r"is not shared: /local .*: \[\d, -?\d\]"):
            session._agree(None, backup, max(found[1], 0))
    assert given[-1] == found[1]
