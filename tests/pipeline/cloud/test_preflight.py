"""Checks of a cloud config before the first request."""

import pytest

from pipeline.config.catalog import catalog
from pipeline.config.files import ConfigError
from pipeline.vertex import preflight
from tests.pipeline.cloud.settings import cloud_config


def errors(*overrides):
    return preflight.check(cloud_config(*overrides)).errors


@pytest.mark.parametrize(
    "setting, told",
    [
        ("cloud.project=My_Project", "cloud.project"),
        ("cloud.region=us-middle1", "not a region of Vertex AI; known: .*us-central1"),
        ("cloud.bucket=gs://my-bucket", "cloud.bucket"),
        ("cloud.service_account=me", "cloud.service_account"),
        ("cloud.network=default", "cloud.network"),
        ("cloud.labels={Team: cats}", "cloud.labels"),
        ("cloud.labels={team: The Cats}", "cloud.labels"),
        ("cloud.labels={run: mine}", "the label run is reserved"),
        ("cloud.dataflow.max_workers=0", "cloud.dataflow.max_workers"),
        ("cloud.dataflow.timeout_h=0.0002", "cloud.dataflow.timeout_h"),
        ("cloud.training.timeout_h=0.0002", "cloud.training.timeout_h"),
        (
            "cloud.training.chief={preset: T4_5X}",
            "unknown preset; expected one of: CPU, T4_1X, T4_4X",
        ),
        (
            "cloud.training.chief={preset: T4_4X, accelerator_count: 2}",
            "already sets .*preset to null",
        ),
        ("cloud.training.chief={preset: T4_4X, replicas: 2}", "chief.replicas must be 1"),
        ("cloud.training.chief={accelerator_count: 2}", "set preset or machine_type"),
        ("cloud.training.worker={machine_type: n1-standard-4, accelerator_count: 2}", "or neither"),
        ("cloud.regoin=us-central1", r"did you mean cloud\.region"),
    ],
)
def test_invalid_values_are_errors_of_the_config(setting, told):
    with pytest.raises(ConfigError, match=told):
        cloud_config(setting)


def test_the_articles_machine_has_a_name():
    chief = cloud_config("cloud.training.chief={preset: T4_4X}").cloud.training.chief
    machine = catalog().machines[chief.machine_type]
    assert (machine.cpus, machine.gb) == (16, 60)
    assert (chief.accelerator_type, chief.accelerator_count) == ("NVIDIA_TESLA_T4", 4)


@pytest.mark.parametrize("preset", catalog().presets)
def test_every_preset_is_a_machine_that_exists(preset):
    assert errors(f"cloud.training.chief={{preset: {preset}}}") == []


@pytest.mark.parametrize(
    "pool, told",
    [
        ("n1-standard-16, accelerator_type: NVIDIA_TESLA_V100, accelerator_count: 1", "2, 4, 8"),
        ("n1-standard-4, accelerator_type: NVIDIA_L4, accelerator_count: 1", "g2-standard-4"),
        ("n1-standard-4, accelerator_type: NVIDIA_X1, accelerator_count: 1", "none known"),
        ("a2-highgpu-1g", "comes with NVIDIA_TESLA_A100 x 1"),
        ("n9-huge-1", "unknown machine type n9-huge-1; known: e2-standard-2"),
        ("n1-standard-2", "does not train on n1-standard-2"),
    ],
)
def test_machines_and_accelerators_must_fit_together(pool, told):
    (error,) = errors(f"cloud.training.chief={{machine_type: {pool}}}")
    assert error.startswith("cloud.training.chief: ")
    assert told in error


@pytest.mark.parametrize(
    "setting, told",
    [
        ("cloud.dataflow.machine_type=a2-highgpu-4g", "comes with accelerators"),
        ("cloud.dataflow.machine_type=n9", "unknown machine type n9"),
        ("push.vertex.machine_type=n9-bogus", "push.vertex.machine_type: unknown machine type"),
        ("beam.pipeline_args=[--runner=FlinkRunner]", "set cloud.dataflow=null"),
        ("model.arguments={weights: README.md}", "README.md: copy it to gs://my-bucket/weights/"),
    ],
)
def test_invalid_combinations_are_found_before_the_run(setting, told):
    (error,) = errors(setting)
    assert told in error
    assert (
        errors("model.arguments={weights: gs://b/w.h5}", "push.vertex.machine_type=e2-standard-2")
        == []
    )


@pytest.mark.parametrize(
    "image, told",
    [
        ("pipeline", "is not an image name"),
        ("us-docker.pkg.dev/p/r/pipeline", "has no tag"),
        ("us-docker.pkg.dev/p/r/pipeline:latest", "changes without a change of the cache key"),
        ("us-docker.pkg.dev/p/r/Pipeline:1", "is not an image name"),
    ],
)
def test_an_image_needs_a_fixed_tag(image, told):
    (error,) = errors(f"cloud.image={image}")
    assert told in error
    assert errors(f"cloud.training_image={image}")[0].startswith("cloud.training_image")
    digest = "us-docker.pkg.dev/p/r/pipeline@sha256:" + "0" * 64
    assert errors(f"cloud.image={digest}") == []


def test_all_errors_are_reported_at_once():
    found = preflight.check(
        cloud_config(
            "cloud.image=a/b:latest",
            "cloud.dataflow.machine_type=n9",
            "wandb.mode=online",
            "push.target=folder",
            "cloud.subnetwork=regions/europe-west4/subnetworks/default",
            f"name={'x' * 120}",
        )
    )
    with pytest.raises(preflight.PreflightError, match="6 invalid settings; nothing was sent"):
        found.raise_errors()


def test_hints_name_quotas_and_distant_resources():
    hints = preflight.check(
        cloud_config(
            "cloud.region=europe-west4",
            "cloud.service_account=x-service@other-project.iam.gserviceaccount.com",
            "cloud.training.worker={preset: T4_1X, replicas: 3}",
        )
    ).hints
    assert any(
        "custom_model_training_nvidia_t4_gpus of at least 4 in europe-west4" in h for h in hints
    )
    assert any("quota CPUS of at least 16 in europe-west4" in h for h in hints)
    assert any("quota IN_USE_ADDRESSES of at least 4 in europe-west4" in h for h in hints)
    assert any("is in us-central1, far from europe-west4" in h for h in hints)
    assert any("belongs to other-project" in h for h in hints)
