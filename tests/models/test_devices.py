"""GPU settings, and machines without a GPU."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace

import pytest
import tensorflow as tf
import tf_keras

from models import session, trainer
from models.distributed import cluster, devices
from models.options import TrainerOptions

ALL = TrainerOptions(mixed_precision=True, xla=True, collective="nccl", memory_growth=False)


@pytest.fixture
def gpus(monkeypatch):
    """Makes the machine have so many GPUs; what their memory growth was set to."""
    growth = []

    def gpus(count: int, set_memory_growth=lambda gpu, grows: growth.append(grows)):
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [object()] * count)
        monkeypatch.setattr(tf.config.experimental, "set_memory_growth", set_memory_growth)
        return growth

    return gpus


def test_without_a_gpu_its_settings_are_off_with_one_line(gpus, caplog):
    gpus(0)
    with caplog.at_level(logging.INFO, "pawprint"):
        options = devices.prepare(ALL)
    assert (options.mixed_precision, options.xla, options.collective) == (False, False, "auto")
    [line] = [record.getMessage() for record in caplog.records]
    assert line == "no GPU found: collective, mixed_precision, xla ignored"


def test_without_a_gpu_there_is_no_line_where_nothing_is_left_out(gpus, caplog):
    gpus(0)
    options = TrainerOptions(collective="ring")
    with caplog.at_level(logging.INFO, "pawprint"):
        assert devices.prepare(options) == options
    assert not caplog.records


@pytest.mark.parametrize("grows", [True, False])
def test_gpus_take_the_settings_as_they_are(gpus, grows):
    growth = gpus(2)
    options = TrainerOptions(mixed_precision=True, xla=True, memory_growth=grows)
    assert devices.prepare(options) == options
    assert growth == [grows, grows]


def test_gpus_in_use_stay_as_they_are(gpus, caplog):
    def refuse(gpu, grows):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    gpus(1, refuse)
    with caplog.at_level(logging.INFO, "pawprint"):
        assert devices.prepare(ALL) == ALL
    assert "trainer.memory_growth is ignored" in caplog.text


def test_precision_holds_inside_only_also_after_an_error():
    policy = tf_keras.mixed_precision.global_policy
    with devices.precision(TrainerOptions()):
        assert policy().name == "float32"
    with pytest.raises(ZeroDivisionError), devices.precision(ALL):
        assert policy().name == "mixed_float16"
        _ = 1 / 0
    assert policy().name == "float32"


REQUESTED = (
    "requested {} per machine, but TensorFlow sees none: it would train on the CPU at the price of"
)


def test_requested_gpus_that_are_missing_are_an_error(gpus):
    gpus(0)
    with pytest.raises(RuntimeError, match=REQUESTED.format("4 GPUs")):
        devices.prepare(TrainerOptions(), requested=4)
    growth = gpus(1)
    assert devices.prepare(TrainerOptions(), requested=1) == TrainerOptions()
    assert growth == [True]


CLUSTER = {"chief": ["127.0.0.1:1"], "worker": ["127.0.0.1:2"]}


@pytest.mark.parametrize(
    ("members", "kind", "ordered", "told"),
    [
        (None, None, {"chief": 1}, "1 GPU"),
        ({"chief": ["127.0.0.1:1"]}, "chief", {"chief": 2}, "2 GPUs"),
        ({"worker": ["127.0.0.1:1"]}, "worker", {"chief": 1}, "1 GPU"),
        (CLUSTER, "chief", {"chief": 1, "worker": 0}, "1 GPU"),
        (CLUSTER, "worker", {"chief": 0, "worker": 4}, "4 GPUs"),
    ],
)
def test_a_training_without_its_gpus_ends_before_it_reads_anything(
    gpus, members, kind, ordered, told, monkeypatch
):
    gpus(0)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if members:
        task = {"type": kind, "index": 0}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": members, "task": task}))
    # Neither files nor the other process are there: who looks for them fails otherwise.
    settings = {"labels": ["cat", "dog"], "image_size": 32, "gpus": ordered}
    with pytest.raises(RuntimeError, match=REQUESTED.format(told)):
        trainer.run_fn(SimpleNamespace(custom_config=settings))


def test_a_machine_without_gpus_trains_if_none_were_requested(gpus, monkeypatch):
    gpus(0)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(cluster, "create_strategy", lambda *_: "strategy")
    trained = []
    monkeypatch.setattr(session, "train_and_export", lambda *given: trained.append(given))
    settings = {"labels": ["cat", "dog"], "image_size": 32, "gpus": {"chief": 0, "worker": 1}}
    trainer.run_fn(SimpleNamespace(custom_config=settings))
    assert len(trained) == 1
