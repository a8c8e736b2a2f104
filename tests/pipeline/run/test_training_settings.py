"""What the pipeline hands to the Trainer comes out again in the model card."""

import json
import subprocess

import yaml

from models import options
from models.backbones import package
from models.tracking.run_id import training_run_id
from pipeline.artifacts.digests import settings_digest
from pipeline.config.files import load_config
from pipeline.metadata.reader import run_executions, sqlite_store
from pipeline.run.ingest import DataSource, ingest
from tests.conftest import REPOSITORY


def test_the_model_card_says_where_the_model_comes_from(pushed_run, photos, tmp_path):
    [path] = pushed_run.root.glob("pipeline/Trainer/model/*/model_card.json")
    provenance = json.loads(path.read_text())["provenance"]
    written = yaml.safe_load((pushed_run.folder / "config.yaml").read_text())
    (tmp_path / "root").mkdir()
    elsewhere = load_config(None, [f"root={tmp_path / 'root'}"])
    again = ingest(DataSource("images", str(photos)), elsewhere, lambda *_: None)
    assert provenance["data_digest"] == written["records"]["digest"] == again.records.digest
    shaping = {
        "labels": list(written["records"]["labels"]),
        "image_size": written["model"]["image_size"],
        "model": {"name": written["model"]["name"]},
        "trainer": written["trainer"] | {"preset": provenance["settings"]["trainer"]["preset"]},
    }
    assert provenance["config_digest"] == settings_digest(shaping)
    commit = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"], capture_output=True, text=True
    )
    recorded = provenance["git_commit"]
    assert (recorded and recorded.removesuffix("-dirty")) == (commit.stdout.strip() or None)
    assert {"tensorflow", "tf-keras", "tfx"} <= set(provenance["libraries"])


def test_metadata_leads_to_the_run_that_the_training_logs_to(pushed_run):
    store = sqlite_store(str(pushed_run.root / "metadata.sqlite"))
    executions = run_executions(store, pushed_run.summary["run_id"])
    [trainer] = [e for e in executions if e.node_id == "Trainer"]
    [execution] = store.get_executions_by_id([trainer.id])
    settings = json.loads(execution.custom_properties["custom_config"].string_value)
    assert settings["store"] == (pushed_run.root / ".store").read_text().strip()
    [run] = trainer.outputs["model_run"]
    assert len(training_run_id(settings["store"], run.uri)) == 16


def test_training_learns_from_train_and_validates_on_validation(pushed_run):
    store = sqlite_store(str(pushed_run.root / "metadata.sqlite"))
    (trainer,) = store.get_executions_by_type("tfx.components.trainer.component.Trainer")[-1:]
    for key, split in (("train_args", "train"), ("eval_args", "validation")):
        assert json.loads(trainer.custom_properties[key].string_value)["splits"] == [split]


RECORDS = {
    "path": "/records",
    "labels": ["cat", "dog"],
    "patterns": {},
    "counts": {"train": {"cat": 3, "dog": 1}, "validation": {"dog": 1}},
    "features": [],
}


def settings_of(root, *overrides: str) -> dict:
    """What the Trainer is given under these settings."""
    from pipeline.pipeline import training_settings

    config = load_config(None, [f"root={root}", f"records={json.dumps(RECORDS)}", *overrides])
    return training_settings(config)


def test_the_trainer_gets_the_counts_and_the_weights(tmp_path):
    settings = settings_of(tmp_path)
    assert settings["label_counts"] == {"cat": 3, "dog": 1}
    assert settings["counts"] == {"train": 4, "eval": 1}
    assert settings["image_size"] == 224
    pinned = package.EFFICIENTNET_LITE0.find()
    assert settings["provenance"]["weights_digest"] == pinned.sha256
    assert settings["provenance"]["weights"] == pinned.description()
    config = options.parse(settings)
    assert (config.model.name, config.label_counts) == ("efficientnet_lite0", {"cat": 3, "dog": 1})
    assert config.features_dir
    plain = settings_of(tmp_path, "model.name=pawnet")
    assert plain["image_size"] == 150 and "weights" not in plain["provenance"]


def test_the_preset_is_settled_before_the_cache_is_asked(tmp_path, monkeypatch):
    """A model of CPUs is not taken for one of GPUs, which are trained further."""
    presets = []
    for gpus in ([], [object()]):
        monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda _, g=gpus: g)
        presets.append(settings_of(tmp_path)["trainer"]["preset"])
    assert presets == ["fast", "best"]
    assert settings_of(tmp_path, "trainer.preset=balanced")["trainer"]["preset"] == "balanced"
    assert settings_of(tmp_path, "model.name=pawnet")["trainer"]["preset"] is None


def test_the_folder_of_features_has_one_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    assert settings_of("runs")["features_dir"] == settings_of(tmp_path / "runs")["features_dir"]


def test_other_weights_under_the_same_name_train_again(tmp_path):
    weights = tmp_path / "weights.h5"
    found = []
    for content in ("one", "other"):
        weights.write_text(content)
        found.append(
            settings_of(tmp_path, "model.name=pretrained", f"model.arguments.weights={weights}")
        )
    assert found[0]["model"] == found[1]["model"]
    assert found[0] != found[1]
