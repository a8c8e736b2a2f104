"""When a run cross-validates; tests/pipeline/test_whole_run.py runs the component itself."""

import pytest

from pipeline.components import cross_validation
from pipeline.config.files import load_config
from pipeline.config.schema import RecordsConfig

BOUND = "gate.bounds=[{metric: accuracy, min: 0.5}, {metric: cross_validated_accuracy, min: 0.9}]"


def config_of(*settings: str, test: int):
    records = RecordsConfig(
        path="records",
        labels=("cat", "dog"),
        patterns={"train": "t", "validation": "v", "test": "e"},
        counts={split: {"cat": test, "dog": 0} for split in ("train", "validation", "test")},
        features=("image", "label"),
    )
    return load_config(None, settings).with_records(records)


@pytest.mark.parametrize(
    ("settings", "test", "expected"),
    [
        ([], 99, True),
        ([], 100, False),
        ([BOUND], 5000, True),
        (["gate.cross_validate=false"], 10, False),
        (["gate.cross_validate=true"], 5000, True),
        (["model.name=pawnet"], 10, False),
        (["model.name=pawnet", "gate.cross_validate=true"], 10, False),
    ],
)
def test_is_enabled_by_few_test_photos_a_bound_or_its_setting(settings, test, expected):
    assert cross_validation.is_enabled(config_of(*settings, test=test)) is expected


def test_the_setting_does_not_train_a_model_anew():
    """Transform prepares the same images whatever the setting."""
    for value in ("true", "false", "null"):
        config = config_of(f"gate.cross_validate={value}", test=99)
        assert cross_validation.needs_test_images(config)
    assert not cross_validation.needs_test_images(config_of(test=100))
    assert not cross_validation.needs_test_images(config_of("model.name=pawnet", test=10))


def test_other_weights_miss_the_cache():
    from tfx import v1 as tfx

    def settings(digest: str) -> dict:
        names = ("labels", "image_size", "model", "trainer", "features_dir", "code")
        given = {**dict.fromkeys(names), "provenance": {"weights_digest": digest}}
        examples = tfx.dsl.Channel(type=tfx.types.standard_artifacts.Examples)
        return cross_validation.create(examples, given).exec_properties

    assert settings("one") == settings("one") != settings("other")
