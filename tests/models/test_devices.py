"""What GPUs are asked for, and what a machine without one leaves out."""

from __future__ import annotations

import logging

import pytest
import tensorflow as tf
import tf_keras

from models import devices
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
    assert line == "no GPU here: collective, mixed_precision, xla left out of this training"


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
    assert "GPU memory growth stays as it is" in caplog.text


def test_precision_holds_inside_only_also_after_an_error():
    policy = tf_keras.mixed_precision.global_policy
    with devices.precision(TrainerOptions()):
        assert policy().name == "float32"
    with pytest.raises(ZeroDivisionError), devices.precision(ALL):
        assert policy().name == "mixed_float16"
        _ = 1 / 0
    assert policy().name == "float32"
