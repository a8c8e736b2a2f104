"""What is kept between epochs and attempts, and where."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from models import options, storage


def test_auto_takes_memory_then_a_file_then_nothing(monkeypatch):
    assert storage.choose_cache("auto", 100, 150) == "memory"
    monkeypatch.setattr(storage, "free_memory", lambda: 1000)
    path = storage.choose_cache("auto", 100, 150)
    assert os.path.isdir(os.path.dirname(path))
    storage.drop_cache(path)
    assert not os.path.exists(os.path.dirname(path))
    assert storage.choose_cache("auto", 10**12, 150) == "none"


@pytest.mark.parametrize("wanted", ["memory", "none"])
def test_a_named_cache_is_taken(wanted):
    assert storage.choose_cache(wanted, 10**12, 150) == wanted
    storage.drop_cache(wanted)


def test_free_memory_is_plausible():
    assert 2**20 < storage.free_memory() < 2**50


def test_equal_trainings_share_their_checkpoints_and_others_do_not():
    def folder(run_dir="/runs/7", steps=None, **fields):
        args = SimpleNamespace(
            model_run_dir=run_dir,
            train_files=["/data/train/*"],
            eval_files=["/data/eval/*"],
            transform_output="/data/transform",
            train_steps=steps,
            eval_steps=None,
        )
        return storage.checkpoint_dir(options.parse({"labels": ["a", "b"], **fields}), args)

    assert os.path.dirname(folder()) == "/runs"
    assert folder() == folder("/runs/8/") == folder(run_id="x", provenance={"commit": "1"})
    others = [folder(), folder(trainer={"epochs": 3}), folder(steps=4), folder(labels=["b", "a"])]
    assert len(set(others)) == 4
    assert folder(checkpoint_dir="gs://bucket/x") == "gs://bucket/x"
