"""A training by the contract of TFX's Trainer, from transformed examples to a served model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from data.record import records
from tests.models import drawn

SERVE = """
import json, sys
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
requests = np.load(sys.argv[2], allow_pickle=True).item()
replies = {}
for name, request in requests.items():
    signature, argument, value = request
    reply = model.signatures[signature](**{argument: tf.constant(value)})
    replies[name] = {key: value.numpy().tolist() for key, value in reply.items()}
assets = sorted(p.rsplit("/", 1)[-1] for p in tf.io.gfile.glob(sys.argv[1] + "/assets/*"))
foreign = {"tfx", "tensorflow_transform", "models", "data"} & set(sys.modules)
text = {True: lambda b: b.decode()}
print(json.dumps([replies, assets, sorted(foreign)], default=lambda b: b.decode()))
"""


def fn_args(transformed, root, **custom_config) -> SimpleNamespace:
    """What TFX's Trainer hands to run_fn."""
    config = {
        "labels": list(transformed.labels),
        "image_size": transformed.image_size,
        "trainer": {"epochs": 2, "batch_size": 8},
        "model": {"name": "article_cnn"},
    }
    return SimpleNamespace(
        train_files=[f"{transformed.root}/train/*"],
        eval_files=[f"{transformed.root}/eval/*"],
        transform_output=f"{transformed.root}/transform",
        serving_model_dir=f"{root}/model/Format-Serving",
        model_run_dir=f"{root}/model_run",
        train_steps=None,
        eval_steps=None,
        custom_config={**config, **custom_config},
    )


SETTINGS = {
    "epochs": 2,
    "batch_size": 8,
    "early_stopping": 1,
    "class_weights": {"disc": 1.0, "square": 2.0},
    "cache": "file",
    "lr_scaling": "linear",
}


@pytest.fixture(scope="module")
def trained(transformed, tmp_path_factory):
    from models import trainer

    root = tmp_path_factory.mktemp("trained")
    args = fn_args(transformed, root, trainer=SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        (root / "tmp").mkdir()
        patch.setattr("tempfile.tempdir", str(root / "tmp"))
        trainer.run_fn(args)
    assert not list((root / "tmp").glob("pawprint-cache-*"))
    assert sorted(os.listdir(root)) == ["model", "model_run", "tmp"], "and so are checkpoints"
    return args


@pytest.fixture(scope="module")
def served(trained, transformed, tmp_path_factory):
    """The replies of a process that knows TensorFlow and nothing of this project."""
    size = transformed.image_size
    content = drawn.jpeg(drawn.drawing(1, 7, (size + 20, size + 30)))
    square = drawn.drawing(0, 8, (64, 64)).resize((size, size))
    pixels = np.asarray(square)
    requests = {
        "record raw": ("serving_default", "examples", [drawn.record(content, "raw", 1)]),
        "record jpeg": ("serving_default", "examples", [drawn.record(content, "jpeg", None)]),
        "bare record": ("serving_default", "examples", [records.serialize({"image": content})]),
        "file": ("serving_jpeg", "image_bytes", [content]),
        "png file": ("serving_jpeg", "image_bytes", [drawn.png(square)]),
        "pixels": ("serving_pixels", "pixels", pixels[None].astype(np.float32)),
        "both": ("serving_jpeg", "image_bytes", [drawn.png(square), content]),
    }
    folder = tmp_path_factory.mktemp("served")
    np.save(folder / "requests.npy", requests, allow_pickle=True)
    command = [sys.executable, "-c", SERVE, trained.serving_model_dir, folder / "requests.npy"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_history_has_every_epoch(trained):
    with open(f"{trained.model_run_dir}/history.json") as file:
        epochs = json.load(file)["epochs"]
    assert [(row["epoch"], row["phase"]) for row in epochs] == [(1, "training"), (2, "training")]
    for key in ("loss", "accuracy", "val_loss", "val_accuracy", "seconds"):
        assert all(np.isfinite(row[key]) for row in epochs)


def test_the_card_holds_the_settings_and_the_exported_epoch(trained):
    with open(f"{trained.serving_model_dir}/../model_card.json") as file:
        provenance = json.load(file)["provenance"]
    with open(f"{trained.model_run_dir}/history.json") as file:
        best = min(json.load(file)["epochs"], key=lambda row: row["val_loss"])
    settings = provenance["settings"]["trainer"]
    assert {name: settings[name] for name in SETTINGS} == SETTINGS
    assert settings["training"]["learning_rate"] == 1e-4, "the architecture's own"
    assert settings["training"]["batch_size"] == settings["training"]["global_batch_size"] == 8
    assert "preset" not in settings or settings["preset"] is None, "it has none"
    assert provenance["exported_epoch"] == best["epoch"]


def test_all_signatures_agree_on_one_photo(served):
    replies, _, _ = served
    same = [replies[name]["probabilities"] for name in ("record raw", "record jpeg", "file")]
    np.testing.assert_array_equal(same[0], same[1])
    np.testing.assert_array_equal(same[0], same[2])
    np.testing.assert_array_equal(same[0], replies["bare record"]["probabilities"])
    np.testing.assert_allclose(
        replies["pixels"]["probabilities"], replies["png file"]["probabilities"], atol=1e-6
    )
    assert replies["pixels"]["probabilities"] != replies["file"]["probabilities"]


def test_the_export_answers_as_the_trained_model_did(trained):
    import tensorflow as tf

    kept = np.load(f"{trained.serving_model_dir}/../reference.npz")
    model = tf.saved_model.load(trained.serving_model_dir)
    pixels = tf.constant(kept["pixels"].astype(np.float32))
    reply = model.signatures["serving_pixels"](pixels=pixels)
    assert len(kept["pixels"]) >= 4
    np.testing.assert_allclose(reply["probabilities"], kept["probabilities"], atol=1e-5)


def test_replies_name_the_most_probable_class(served):
    replies, _, _ = served
    for reply in replies.values():
        index = np.argmax(reply["probabilities"], axis=1)
        np.testing.assert_array_equal(reply["label_index"], index)
        assert reply["label"] == [drawn.LABELS[i] for i in index]
        np.testing.assert_allclose(np.sum(reply["probabilities"], axis=1), 1, atol=1e-6)


def test_the_saved_model_stands_alone(served):
    _, assets, foreign = served
    assert assets == ["labels.txt"]
    assert not foreign


def test_transform_features_gives_the_bytes_of_training(trained, transformed):
    import tensorflow as tf

    model = tf.saved_model.load(trained.serving_model_dir)
    [content] = [drawn.jpeg(drawn.drawing(0, 3))]
    reply = model.signatures["transform_features"](
        examples=tf.constant([drawn.record(content, "jpeg", 1)])
    )
    assert reply["label"].numpy().tolist() == [1]
    assert len(reply["image"].numpy()[0]) == transformed.image_size**2 * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["only"]}, "at least two"),
        ({"model": {"name": "pawnat"}}, "Did you mean 'pawnet'"),
        ({"trainer": {"epoch": 3}}, "Did you mean 'epochs'"),
        ({"trainer": {"batch_size": 0}}, "batch_size"),
        ({"model": {"name": "article_cnn", "depth": 3}}, "depth"),
    ],
)
def test_wrong_settings_are_named(transformed, tmp_path, change, message):
    from models import trainer

    with pytest.raises(ValueError, match=message):
        trainer.run_fn(fn_args(transformed, tmp_path, **change))
    assert not os.listdir(tmp_path)


def test_an_evaluator_waits_for_a_whole_model_and_not_for_ever(tmp_path, monkeypatch):
    from models import trainer

    cluster = {"chief": ["host:1"], "evaluator": ["host:2"]}
    config = {"cluster": cluster, "task": {"type": "evaluator", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    monkeypatch.setattr(trainer, "_POLL_SECONDS", 0.1)
    monkeypatch.setattr(trainer, "_EVALUATOR_SECONDS", 0.5)
    arguments = SimpleNamespace(
        custom_config={"labels": ["a", "b"], "image_size": 48, "model": {"name": "pawnet"}},
        serving_model_dir=f"{tmp_path}/model",
    )
    (tmp_path / "model" / "variables").mkdir(parents=True)  # It is still being written.
    with pytest.raises(TimeoutError, match="No model at"):
        trainer.run_fn(arguments)
    (tmp_path / "model" / "saved_model.pb").write_text("")
    trainer.run_fn(arguments)


def test_a_training_that_diverges_says_when_and_exports_nothing(transformed, tmp_path):
    from models import trainer
    from models.session import TrainingDivergedError

    settings = {"epochs": 2, "batch_size": 8, "learning_rate": 1e30}
    args = fn_args(transformed, tmp_path, trainer=settings)
    with pytest.raises(TrainingDivergedError, match=r"diverged at epoch [12]: .*which is 1e\+30"):
        trainer.run_fn(args)
    assert not (tmp_path / "model" / "Format-Serving").exists()
