"""Training clusters of real processes."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from models.distributed import rendezvous
from tests.models import cluster_of

pytestmark = pytest.mark.slow


def arguments(transformed, root: Path, **trainer) -> dict:
    """Plain training: no randomness that depends on the number of workers."""
    return {
        "train_files": [f"{transformed.root}/train/*"],
        "eval_files": [f"{transformed.root}/eval/*"],
        "transform_output": f"{transformed.root}/transform",
        "serving_model_dir": f"{root}/model/Format-Serving",
        "model_run_dir": f"{root}/model_run",
        "train_steps": None,
        "eval_steps": None,
        "custom_config": {
            "labels": list(transformed.labels),
            "image_size": transformed.image_size,
            "trainer": {"epochs": 2, "batch_size": 8, "collective": "ring", **trainer},
            "model": {"name": "article_cnn"},
        },
    }


def history(root: Path) -> list[dict]:
    return json.loads((root / "model_run" / "history.json").read_text())["epochs"]


def card(root: Path) -> dict:
    return json.loads((root / "model" / "model_card.json").read_text())


def train(transformed, root: Path, workers: int, chief=True, changes=(), **trainer) -> None:
    args = arguments(transformed, root, **trainer)
    args["custom_config"] |= dict(changes)
    processes = cluster_of.start_all(cluster_of.members(workers, chief), args, root / "logs")
    assert cluster_of.wait(processes, 240) == [0] * workers, cluster_of.logs(root / "logs")


def test_three_workers_without_a_chief_and_uneven_shards(transformed, tmp_path):
    # 40 and 13 examples among 3 workers: 14, 13, 13 and 5, 4, 4.
    train(transformed, tmp_path, workers=3, chief=False, batch_size=4)
    settings = card(tmp_path)["provenance"]["settings"]["trainer"]
    sizes = settings["training"]
    assert (settings["workers"], sizes["global_batch_size"], sizes["steps_per_epoch"]) == (3, 12, 4)
    assert [row["epoch"] for row in history(tmp_path)] == [1, 2]


def test_only_the_chief_writes_and_the_key_is_nowhere(transformed, tmp_path, monkeypatch):
    key = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    changes = {
        "wandb": {"mode": "offline", "images_every": 1},
        # It keeps batch statistics, which only the chief asks for when it logs its predictions.
        "model": {"name": "pawnet", "filters": [8, 8, 8, 8]},
    }
    train(transformed, tmp_path, workers=2, changes=changes)
    written = {path.name for path in tmp_path.iterdir()} - {"home"}
    assert written == {"logs", "model", "model_run"}, "checkpoints are removed after the export"
    run = tmp_path / "model_run"
    assert sorted(os.listdir(run)) == ["history.json", "train", "validation", "wandb"]
    for split in ("train", "validation"):
        assert len(list((run / split).glob("events*"))) == 1
    assert len(list(run.glob("wandb/offline-run-*"))) == 1
    assert len(list(run.glob("wandb/offline-run-*/files/media/images/*.png"))) == 2 * 8
    assert not [path for path in (tmp_path / "logs" / "tmp-worker-0").rglob("*") if path.is_file()]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"saved_model.pb", "model_card.json", "chief-0.log"} <= {path.name for path in files}
    for path in files:
        assert key.encode() not in path.read_bytes(), path


def progress(root: Path) -> list[dict]:
    """History of a training that still runs."""
    paths = list(root.glob("checkpoints-*/history.json"))
    return json.loads(paths[0].read_text())["epochs"] if paths else []


IN_PHASES = """
import json, sys
import numpy as np
from types import SimpleNamespace
from models import registry, trainer
from models import session
from tests.models import tiny
if json.loads(sys.argv[1])["custom_config"]["model"]["name"] == "tiny":
    registry.find = lambda name: tiny
train = session.train
def trained(phase, begun, *others):
    train(phase, begun, *others)
    name = f"{begun.task.kind}-{begun.task.index}-{phase.name}"
    np.savez(f"{sys.argv[2]}-{name}.npz", *begun.model.get_weights())
session.train = trained
trainer.run_fn(SimpleNamespace(**json.loads(sys.argv[1])))
"""


@pytest.mark.timeout(1200)  # Three processes trace the default architecture twice, on two cores.
@pytest.mark.parametrize(
    ("tasks", "victim", "phase", "head", "tuning", "model"),
    [
        (["chief-0", "worker-0"], "chief-0", "head", 60, 1, {"name": "tiny"}),
        # The default architecture; tracing it takes most of the time.
        (
            ["chief-0", "worker-0", "worker-1"],
            "worker-0",
            "fine-tuning",
            3,
            6,
            {"name": "efficientnet_lite0", "first_block": 14},
        ),
    ],
    ids=["head", "fine-tuning"],
)
def test_a_killed_process_ends_the_others_and_a_restart_resumes(
    transformed, tmp_path, tasks, victim, phase, head, tuning, model
):
    args = arguments(
        transformed, tmp_path, epochs=head, fine_tuning_epochs=tuning, steps_per_epoch=8
    )
    args["custom_config"] |= {"model": model, "features_dir": f"{tmp_path}/features"}
    weights = tmp_path / "weights"
    weights.mkdir()

    def start(folder: Path) -> list:
        command = [sys.executable, "-c", IN_PHASES, json.dumps(args), f"{weights}/{folder.name}"]
        members = cluster_of.members(len(tasks), chief=True)
        return cluster_of.start_all(members, args, folder, command)

    folder = tmp_path / "logs"
    processes = dict(zip(tasks, start(folder), strict=True))
    deadline = time.monotonic() + 400
    while [row["phase"] for row in progress(tmp_path)].count(phase) < 3:
        assert time.monotonic() < deadline, cluster_of.logs(folder)
        time.sleep(0.1)
    processes[victim].send_signal(signal.SIGKILL)
    began = time.monotonic()
    survivors = [task for task in tasks if task != victim]
    statuses = cluster_of.wait([processes[task] for task in survivors], 90)
    assert time.monotonic() - began < 60
    for task, status in zip(survivors, statuses, strict=True):
        assert status not in (0, -signal.SIGKILL)
        log = (folder / f"{task}.log").read_text()
        assert "A process of the training cluster was lost" in log, log
    assert not (tmp_path / "model").exists()

    before, kept = progress(tmp_path), sorted((tmp_path / "features").rglob("*"))
    assert before[-1]["phase"] == phase
    assert len(before) < head + (tuning if phase == "fine-tuning" else 0)
    statuses = cluster_of.wait(start(tmp_path / "again"), 500)
    assert statuses == [0] * len(tasks), cluster_of.logs(tmp_path / "again")
    after = history(tmp_path)
    assert [row["epoch"] for row in after] == list(range(1, head + tuning + 1))
    assert [row["phase"] for row in after] == ["head"] * head + ["fine-tuning"] * tuning
    assert after[: len(before) - 1] == before[:-1], "earlier epochs were not trained again"
    assert sorted((tmp_path / "features").rglob("*")) == kept, "no feature was computed again"
    trained = {path.stem for path in weights.glob("again-*")}
    phases = {"head", "fine-tuning"} if phase == "head" else {"fine-tuning"}
    assert trained == {f"again-{task}-{each}" for task in tasks for each in phases}
    chief, *workers = (dict(np.load(weights / f"again-{task}-fine-tuning.npz")) for task in tasks)
    for worker in workers:
        for name in chief:
            np.testing.assert_array_equal(chief[name], worker[name])
    # Only the chief has written, and the checkpoints are gone.
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"logs", "again", "features", "model", "model_run", "weights"}
    left = (tmp_path / "again").glob("tmp-worker-*/**/*")
    assert not [path for path in left if path.is_file()]


def test_all_processes_stop_harmful_fine_tuning_after_the_same_epoch(transformed, tmp_path):
    settings = {"epochs": 4, "early_stopping": 2, "fine_tuning_epochs": 20}
    args = arguments(transformed, tmp_path, fine_tuning_learning_rate=30.0, **settings)
    args["custom_config"]["model"] = {"name": "tiny"}
    command = [sys.executable, "-c", IN_PHASES, json.dumps(args), f"{tmp_path}/weights"]
    folder = tmp_path / "logs"
    processes = cluster_of.start_all(cluster_of.members(2, chief=True), args, folder, command)
    assert cluster_of.wait(processes, 240) == [0, 0], cluster_of.logs(folder)
    rows = history(tmp_path)
    assert [row["phase"] for row in rows].count("fine-tuning") == 2
    assert card(tmp_path)["provenance"]["exported_epoch"] <= 4
    found = [
        dict(np.load(f"{tmp_path}/weights-{kind}-0-{phase}.npz"))
        for kind in ("chief", "worker")
        for phase in ("head", "fine-tuning")
    ]
    for weights in found[1:]:
        for name in found[0]:
            np.testing.assert_array_equal(weights[name], found[0][name])


def test_a_cluster_that_never_completes_ends_with_a_clear_error(transformed, tmp_path):
    args = arguments(transformed, tmp_path, cluster_timeout=8)
    members = cluster_of.members(2, chief=True)
    log = tmp_path / "chief.log"
    began = time.monotonic()
    process = cluster_of.start(members, "chief", 0, args, log)
    assert cluster_of.wait([process], 100) == [1], log.read_text()
    assert time.monotonic() - began < 90
    text = log.read_text()
    assert "is not complete after 8 s" in text
    assert f"no connection from worker 0 ({members['worker'][0]})" in text
    assert not (tmp_path / "model").exists()


def test_a_process_that_came_and_was_lost_before_tensorflow_began_ends_the_others(
    transformed, tmp_path
):
    args = arguments(transformed, tmp_path, cluster_timeout=8)
    members = cluster_of.members(2, chief=True)
    log = tmp_path / "chief.log"
    process = cluster_of.start(members, "chief", 0, args, log)
    # This process comes in the worker's place, and does not go on.
    places = {f"{kind} 0": address for kind, [address] in members.items()}
    rendezvous.wait_for_all(places, "worker 0", "chief 0", timeout=100)
    began = time.monotonic()
    assert cluster_of.wait([process], 100) == [-signal.SIGKILL], log.read_text()
    assert time.monotonic() - began < 30
    assert "A process of the training cluster was lost; this is chief 0 of 2" in log.read_text()


def in_many_files(transformed, folder: Path, files: int, count: int) -> list[str]:
    """Training examples in files that are dealt out whole; their pattern."""
    import tensorflow as tf

    found = tf.data.TFRecordDataset(sorted(map(str, transformed.root.glob("train/*"))), "GZIP")
    examples = list(found.take(count).as_numpy_iterator())
    folder.mkdir()
    for number in range(files):
        with tf.io.TFRecordWriter(f"{folder}/{number:02d}", "GZIP") as writer:
            for example in examples[number::files]:
                writer.write(example)
    return [f"{folder}/*"]


def test_two_and_three_workers_learn_what_one_does(tmp_path, transformed):
    code = """
import json, os, sys
import numpy as np
from types import SimpleNamespace
import tf_keras
from models import autograph, input, options, registry, session
from models.distributed import cluster
autograph.skip_keras()
args = json.loads(sys.argv[1])
config = options.parse(args["custom_config"])
task = cluster.read_task()
strategy = cluster.create_strategy(task, config.trainer)
architecture = registry.find(config.model.name)
begun = session.Session(SimpleNamespace(**args), config, architecture, task, strategy)
assert input._splits_evenly(begun.train.files, task.workers)
[phase] = begun.phases()
history = []
losses = lambda _, logs: history.append([logs["loss"], logs["val_loss"], logs["val_accuracy"]])
log = tf_keras.callbacks.LambdaCallback(on_epoch_end=losses)
session.fit(phase, begun, callbacks=[log])
np.savez(args["model_run_dir"] + f"-{task.kind}-{task.index}.npz", loss=history,
         **{str(i): value for i, value in enumerate(begun.model.get_weights())})
"""
    results = {}
    train_files = in_many_files(transformed, tmp_path / "files", files=12, count=36)
    for workers, batch in ((1, 36), (2, 18), (3, 12)):
        root = tmp_path / str(workers)
        root.mkdir()
        # One step an epoch meets all 36 examples, so that their order does not matter.
        args = arguments(transformed, root, batch_size=batch, epochs=3)
        args["train_files"] = train_files
        command = [sys.executable, "-c", code, json.dumps(args)]
        processes = cluster_of.start_all(
            cluster_of.members(workers, chief=False), args, root / "logs", command
        )
        assert cluster_of.wait(processes, 200) == [0] * workers, cluster_of.logs(root / "logs")
        results[workers] = [dict(np.load(path)) for path in sorted(root.glob("*.npz"))]
        assert len(results[workers]) == workers
    for workers in (2, 3):
        first, *others = results[workers]
        for other in others:
            for name in first.keys() - {"loss"}:
                np.testing.assert_array_equal(first[name], other[name])
        np.testing.assert_allclose(first["loss"], results[1][0]["loss"], rtol=1e-3)


def test_a_process_that_stands_still_ends_the_others(transformed, tmp_path):
    args = arguments(transformed, tmp_path, epochs=200, steps_per_epoch=20)
    folder = tmp_path / "logs"
    chief, worker = cluster_of.start_all(cluster_of.members(2, chief=True), args, folder)
    try:
        deadline = time.monotonic() + 150
        while len(progress(tmp_path)) < 2:
            assert time.monotonic() < deadline, cluster_of.logs(folder)
            time.sleep(0.1)
        worker.send_signal(signal.SIGSTOP)
        [status] = cluster_of.wait([chief], 60)
        assert status not in (0, -signal.SIGKILL), cluster_of.logs(folder)
    finally:
        worker.kill()
    log = (folder / "chief-0.log").read_text()
    assert "A process of the training cluster was lost" in log, log
    assert not (tmp_path / "model").exists()
