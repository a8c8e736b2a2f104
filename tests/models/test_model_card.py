"""The card names the very code and epoch that a model comes from."""

from __future__ import annotations

import subprocess
import sys

import pytest

from models import model_card, options


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
    config = options.parse({"labels": ["a", "b"], "trainer": {"early_stopping": stopping}})
    epochs = [{"epoch": n, "val_loss": loss} for n, loss in enumerate(losses, 1)]
    card = model_card.write_up(config, sys.modules[__name__], 7, epochs, {})
    assert card["provenance"]["exported_epoch"] == epoch


def test_every_signature_is_described():
    config = options.parse({"labels": ["a", "b"], "image_size": 20})
    card = model_card.write_up(config, sys.modules[__name__], 7, [], {})
    keys = {entry["key"] for entry in card["model_parameters"]["input_format_map"]}
    assert keys == {"serving_default", "serving_jpeg", "serving_pixels", "transform_features"}
