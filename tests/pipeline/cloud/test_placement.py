"""What a cloud config sets: Beam's flags and options, the training job, labels."""

from types import SimpleNamespace

import pytest
from apache_beam.options.pipeline_options import (
    GoogleCloudOptions,
    PipelineOptions,
    WorkerOptions,
)

from data.conversion.beam_options import job_options
from pipeline import placement
from pipeline.cloud import dataflow
from tests.pipeline.cloud.settings import cloud_config


@pytest.fixture(params=[(), ("cloud.subnetwork=regions/us-central1/subnetworks/main",)])
def config(request):
    return cloud_config(*request.param, "cloud.dataflow.timeout_h=0.10001")


def test_options_by_name_and_flags_say_the_same(config):
    by_name = PipelineOptions(flags=[], **dataflow.options(config))
    by_flag = PipelineOptions(placement.beam_arguments(config))
    for kind in (WorkerOptions, GoogleCloudOptions):
        options = by_name.view_as(kind).get_all_options(current_only=True)
        assert options == by_flag.view_as(kind).get_all_options(current_only=True)
    workers = by_flag.view_as(WorkerOptions)
    assert workers.use_public_ips is (False if config.cloud.subnetwork else None)
    services = by_flag.view_as(GoogleCloudOptions).dataflow_service_options
    assert services == ["max_workflow_runtime_walltime_seconds=361"]


def test_the_conversion_takes_the_options(config):
    options = dataflow.options(config)
    place = options.pop("project"), options.pop("region")
    plan = SimpleNamespace(shards=[])
    taken = job_options(plan, "gs://bucket/records", "DataflowRunner", *place, options, "convert")
    assert options.items() <= taken.items()


def test_pushes_have_the_labels_of_everything_else():
    config = cloud_config("cloud.labels={team: cats, a: b}", "push.vertex.labels={a: mine}")
    labels = placement.with_labels(config).push.vertex.labels
    assert labels == {
        "application": "pawprint",
        "pipeline": "pawprint",
        "team": "cats",
        "a": "mine",
    }
    folder = cloud_config("push={target: folder, vertex: null}")
    assert placement.with_labels(folder) == folder


def test_the_disk_that_is_priced_is_the_one_asked_for():
    (pool,) = placement.training_job(cloud_config())["ai_platform_training_args"]["job_spec"][
        "worker_pool_specs"
    ]
    assert pool["disk_spec"] == {"boot_disk_type": "pd-ssd", "boot_disk_size_gb": 100}


@pytest.mark.parametrize("network", [None, "projects/123/global/networks/main"])
def test_a_training_job_runs_in_the_network_of_the_config(network):
    settings = [f"cloud.network={network}"] if network else []
    job = placement.training_job(cloud_config(*settings))["ai_platform_training_args"]["job_spec"]
    assert job.get("network") == network


def test_the_training_is_told_which_gpus_it_was_ordered_with():
    gpus = placement.training_job(cloud_config())["gpus"]
    assert gpus == {"chief": 1}
    chosen = ("cloud.training.chief={preset: CPU}", "cloud.training.worker={preset: T4_4X}")
    assert placement.training_job(cloud_config(*chosen))["gpus"] == {"chief": 0, "worker": 4}
    assert placement.training_job(cloud_config("cloud.training=null")) == {}
