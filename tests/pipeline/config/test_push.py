"""What a target needs is checked when the config is read, before a run starts."""

import pytest

from pipeline.config.files import ConfigError, load_config

GIVEN = "{project: my-project, region: us-central1, models_at: gs://my-bucket/models"


def load(target: str, settings: str):
    return load_config(None, [f"push.target={target}", f"push.{target}={settings}"]).push


@pytest.mark.parametrize("target", ["vertex", "ai_platform"])
def test_project_region_and_a_folder_in_the_store_are_enough(target):
    assert getattr(load(target, GIVEN + "}"), target).models_at == "gs://my-bucket/models"


@pytest.mark.parametrize(
    ("target", "settings", "told"),
    [
        (
            "vertex",
            "null",
            "target vertex needs push.vertex with at least project, region and models",
        ),
        ("ai_platform", "null", "target ai_platform needs push.ai_platform"),
        ("s3", "{}", "push.target: Input should be 'folder', 'ai_platform' or 'vertex'"),
        ("vertex", "{project: my-project}", "push.vertex.region is required"),
        (
            "vertex",
            GIVEN.replace("us-central1", "mars") + "}",
            "push.vertex.region: not a region",
        ),
        ("vertex", GIVEN.replace("gs://", "") + "}", "push.vertex.models_at: .*gs://"),
        ("vertex", GIVEN + ", model: Cats_Dogs}", "push.vertex.model: "),
        ("vertex", GIVEN + ", canary_percent: 0}", "push.vertex.canary_percent: .*received 0"),
        ("vertex", GIVEN + ", min_replicas: 2}", "max_replicas 1 is below min_replicas 2"),
        ("vertex", GIVEN + ", endpoint: my endpoint}", "push.vertex.endpoint: "),
        ("vertex", GIVEN + ", labels: {Team: pets}}", "push.vertex.labels"),
        (
            "vertex",
            GIVEN + ", kms_key: projects/p/locations/us-east1/keyRings/r/cryptoKeys/k}",
            "kms_key must be in the region us-central1",
        ),
        ("vertex", GIVEN + ", canary: 10}", r"did you mean push.vertex.canary_percent\?"),
        ("ai_platform", GIVEN + ", runtime_version: '2.16'}", "runtime_version: .*'2.11'"),
        ("ai_platform", GIVEN + ", model: cats-dogs}", "push.ai_platform.model: "),
        ("ai_platform", GIVEN + ", machine_type: mls1-c1-m2}", "machine_type: .*n1-"),
    ],
)
def test_invalid_targets_are_refused(target, settings, told):
    with pytest.raises(ConfigError, match=told):
        load(target, settings)
