"""The card names the very code and epoch that a model comes from."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from models import model_card, options, phases, session
from models.backbones import package


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of the module in a git repository of its own; runs git there."""
    monkeypatch.delenv("GIT_COMMIT", raising=False)
    monkeypatch.setattr(model_card, "__file__", str(tmp_path / "model_card.py"))
    (tmp_path / "model_card.py").write_text("")

    def git(*command: str) -> str:
        who = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *command], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    git("init", "--quiet")
    return git


def test_the_commit_is_that_of_this_code(checkout, tmp_path, monkeypatch):
    checkout("commit", "--allow-empty", "--message=of something else")
    assert model_card._git_commit() is None, "the repository of something else"
    checkout("add", "model_card.py")
    checkout("commit", "--message=of this code")
    checkout("tag", "--annotate", "v1", "--message=with a name")
    commit = checkout("rev-parse", "HEAD")
    assert len(commit) == 40
    assert model_card._git_commit() == commit
    (tmp_path / "model_card.py").write_text("# edited")
    assert model_card._git_commit() == f"{commit}-dirty"
    monkeypatch.setenv("GIT_COMMIT", "of-the-image")
    assert model_card._git_commit() == "of-the-image"


def test_no_commit_where_there_is_no_repository(tmp_path, monkeypatch):
    monkeypatch.delenv("GIT_COMMIT", raising=False)
    monkeypatch.setattr(model_card, "__file__", str(tmp_path / "model_card.py"))
    assert model_card._git_commit() is None


@pytest.mark.parametrize(
    ("losses", "stopping", "epoch"),
    [
        ([0.9, 0.4, 0.6], 0, 3),
        ([0.9, 0.4, 0.6], 2, 2),
        ([float("nan"), 0.4, 0.6], 2, 2),
        ([float("nan")] * 2, 2, 1),
    ],
)
def test_the_exported_epoch_is_the_one_whose_weights_are(losses, stopping, epoch):
    last = SimpleNamespace(first_epoch=0, keeps_best=False)
    assert exported(losses, stopping, last) == epoch


@pytest.mark.parametrize(
    ("losses", "stopping", "epoch"),
    [
        ([0.3, 0.5, 0.4, 0.6], 0, 3),
        ([0.3, 0.5, 0.6, 0.7], 0, 2),
        ([0.3, 0.5, 0.4, 0.6], 2, 1),  # The head had its best weights when fine-tuning began.
        ([0.3, 0.5, 0.4, 0.2], 2, 4),
        ([0.3, 0.5, float("nan"), float("nan")], 0, 2),
    ],
)
def test_fine_tuning_is_exported_where_it_beats_what_it_began_with(losses, stopping, epoch):
    last = SimpleNamespace(first_epoch=2, keeps_best=True)
    assert exported(losses, stopping, last) == epoch


def test_fine_tuning_has_to_beat_a_head_that_ended_early():
    last = SimpleNamespace(first_epoch=40, keeps_best=True)
    config = parse(trainer={"early_stopping": 2})
    losses = {1: 0.5, 2: 0.3, 3: 0.4, 41: 0.35, 42: 0.32}
    epochs = [{"epoch": n, "val_loss": loss} for n, loss in losses.items()]
    assert [row["val_loss"] for row in session.candidate_epochs(epochs, last, config)] == [
        0.3,
        0.35,
        0.32,
    ]
    assert session.exported_epoch(epochs, last, config)["epoch"] == 2


def exported(losses, stopping: int, last: phases.Phase) -> int:
    """The epoch that the card of a training with these losses names."""
    config = parse(trainer={"early_stopping": stopping})
    epochs = [{"epoch": n, "val_loss": loss} for n, loss in enumerate(losses, 1)]
    row = session.exported_epoch(epochs, last, config)
    card = model_card.create(config, sys.modules[__name__], 7, len(epochs), row, {})
    assert card["provenance"]["epochs"] == len(epochs)
    return card["provenance"]["exported_epoch"]


def parse(**fields) -> options.Options:
    return options.parse({"labels": ["a", "b"], "image_size": 20, **fields})


def test_the_card_names_the_pretrained_weights():
    weights = package.EFFICIENTNET_LITE0.find()
    provenance = {"weights_digest": weights.sha256, "weights": weights.description()}
    card = model_card.create(
        parse(provenance=provenance), sys.modules[__name__], 7, 1, {"epoch": 1}, {}
    )
    [licence] = card["model_details"]["licenses"]
    assert licence["identifier"] == "Apache-2.0"
    for part in ("efficientnet-lite0-57934424.pth", "==0.1.0", "ImageNet", weights.sha256):
        assert part in licence["custom_text"]
    assert card["provenance"]["weights"]["name"] == "efficientnet-lite0-57934424.pth"
    assert weights.path not in json.dumps(card), "a path is that of one machine"
    plain = model_card.create(parse(), sys.modules[__name__], 7, 1, {"epoch": 1}, {})
    assert plain["model_details"]["licenses"] == []


def test_every_signature_is_described():
    card = model_card.create(parse(), sys.modules[__name__], 7, 0, {}, {})
    keys = {entry["key"] for entry in card["model_parameters"]["input_format_map"]}
    assert keys == {"serving_default", "serving_jpeg", "serving_pixels", "transform_features"}
