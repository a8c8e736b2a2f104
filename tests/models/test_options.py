"""Invalid settings are errors before training starts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from models import options, registry


def parse(**fields):
    return options.parse({"labels": ["cat", "dog"], "image_size": 48, **fields})


def test_defaults_and_foreign_fields():
    config = parse(project="somebody-elses", checkpoint_dir=None)
    assert config.model.name == "efficientnet_lite0"
    assert config.trainer == options.TrainerOptions()
    assert config.trainer.class_weights == "balanced"
    assert config.trainer.batch_size is None and config.trainer.preset is None
    assert (config.features_dir, config.label_counts, config.gpus) == (None, {}, {})
    assert config.checkpoint_dir is None


def test_model_arguments_are_what_is_not_its_name():
    model = parse(model={"name": "article_cnn", "depth": 2}).model
    assert (model.name, model.arguments) == ("article_cnn", {"depth": 2})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": ["cat", "cat"]}, "distinct"),
        ({"labels": ["cat"]}, "at least two"),
        ({"image_size": 4}, "image_size"),
        ({"trainer": {"epochs": 0}}, r"trainer\.epochs: expected >= 1\. Received: 0"),
        ({"trainer": {"epoch": 3}}, "Did you mean 'epochs'"),
        ({"trainer": {"learning_rate": 0}}, "learning_rate"),
        ({"trainer": {"label_smoothing": 1}}, "label_smoothing"),
        ({"trainer": {"early_stopping": -1}}, "early_stopping"),
        ({"trainer": {"schedule": "step"}}, "'constant', 'cosine'"),
        ({"trainer": {"seed": -1}}, r"trainer\.seed: expected null, or 0 up"),
        ({"trainer": {"lr_scaling": "log"}}, "lr_scaling"),
        ({"trainer": {"cache": "ram"}}, "cache"),
        ({"trainer": {"collective": "mpi"}}, "collective"),
        ({"trainer": {"class_weights": "even"}}, "balanced"),
        ({"trainer": {"batch_size": 0}}, r"trainer\.batch_size: expected >= 1"),
        ({"trainer": {"preset": "quick"}}, "null, 'fast', 'balanced', 'best'. Received: 'quick'"),
        ({"trainer": {"fine_tuning_epochs": -1}}, r"fine_tuning_epochs: expected >= 0"),
        ({"trainer": {"fine_tuning_learning_rate": 0}}, r"fine_tuning_learning_rate: expected > 0"),
        ({"trainer": {"fine_tuning_seconds": 0}}, r"fine_tuning_seconds: expected >= 1"),
        ({"trainer": {"features_limit_mb": -1}}, r"features_limit_mb: expected >= 0"),
        ({"trainer": {"mirror_features": True}}, "Did you mean 'mirrored_features'"),
        ({"wandb": {"mode": "on"}}, r"wandb\.mode"),
        ({"wandb": {"images_every": -1}}, "images_every"),
        ({"wandb": {"key": "x"}}, r"wandb\.key"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        parse(**fields)


@pytest.mark.parametrize("lacking", ["labels", "image_size"])
def test_labels_and_size_are_required(lacking):
    fields = {"labels": ["cat", "dog"], "image_size": 32}
    del fields[lacking]
    with pytest.raises(ValueError, match=f"lacks '{lacking}'"):
        options.parse(fields)


def test_registry_knows_the_architectures_and_the_nearest_name():
    assert {"article_cnn", "pawnet"} <= set(registry.names())
    with pytest.raises(ValueError, match="Did you mean 'pawnet'"):
        registry.find("pawnat")


def test_an_unknown_optimizer_of_an_architecture_is_an_error():
    with pytest.raises(ValueError, match=r"Unknown optimizer 'adam'\. Did you mean 'adamw'"):
        registry.TrainingSettings(epochs=1, optimizer="adam", learning_rate=0.1)
    with pytest.raises(ValueError, match=r"Unknown schedule 'step'\. Known: constant, cosine"):
        registry.TrainingSettings(epochs=1, optimizer="adamw", learning_rate=0.1, schedule="step")


def test_settings_are_checked_without_tensorflow():
    code = (
        "import sys, models, models.options, models.registry, models.trainer\n"
        "import models.distributed.cluster\n"
        "models.registry.names(); models.options.parse({'labels': ['a', 'b'], 'image_size': 48})\n"
        "print(sorted({'tensorflow', 'tfx', 'wandb', 'apache_beam'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
