"""The id of a training's W&B run."""

from __future__ import annotations

import hashlib

from models.tracking.run_id import training_run_id


def test_the_id_is_what_its_documentation_says():
    text = b"store-1\n/runs/pipeline/Trainer/model_run/7"
    expected = hashlib.sha256(text).hexdigest()[:16]
    assert training_run_id("store-1", "/runs/pipeline/Trainer/model_run/7") == expected
    assert training_run_id("store-1", "/runs/pipeline/Trainer/model_run/7/") == expected


def test_executions_and_stores_are_told_apart():
    ids = {training_run_id(s, f"/runs/{n}") for s in ("", "a", "b") for n in (7, 8)}
    assert len(ids) == 6
