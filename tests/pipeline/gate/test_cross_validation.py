"""When all photos are cross-validated; a whole run does it in tests/pipeline/test_whole_run.py."""

import pytest

from pipeline import config_files
from pipeline.config import RecordsConfig
from pipeline.gate import cross_validation

BOUND = "gate.bounds=[{metric: accuracy, min: 0.5}, {metric: cross_validated_accuracy, min: 0.9}]"


def wanted(*settings: str, test: int) -> bool:
    records = RecordsConfig(
        path="records",
        labels=("cat", "dog"),
        patterns={"train": "t", "validation": "v", "test": "e"},
        counts={split: {"cat": test, "dog": 0} for split in ("train", "validation", "test")},
        features=("image", "label"),
    )
    config = config_files.load(None, settings).model_copy(update={"records": records})
    return cross_validation.is_wanted(config)


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
def test_it_is_wanted_with_few_test_photos_or_when_asked_for(settings, test, expected):
    assert wanted(*settings, test=test) is expected
