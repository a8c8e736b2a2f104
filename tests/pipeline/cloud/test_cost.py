"""The most that a run can cost."""

import datetime

import pytest

from pipeline.cloud import cost
from pipeline.cloud.catalog import catalog
from tests.pipeline.cloud.settings import cloud_config


def test_the_bound_is_every_machine_until_its_limit():
    bound = cost.upper_bound(
        cloud_config(
            "cloud.dataflow={max_workers: 3, timeout_h: 2, disk_gb: 50}",
            "cloud.training={chief: {preset: T4_4X}, timeout_h: 2, disk_gb: 100}",
        )
    )
    worker = 4 * 0.056 + 15 * 0.003557 + 50 * 0.000054
    chief = 16 * 0.036355 + 60 * 0.004873 + 4 * 0.4025 + 100 * 0.000063
    tasks = (1 + 4 * 2 + 2) * (4 * 0.025083 + 16 * 0.003362) + 0.03
    assert [line.usd for line in bound.lines] == pytest.approx(
        [4 * 2 * 3 * worker, 2 * chief, tasks]
    )
    assert bound.usd == pytest.approx(sum(line.usd for line in bound.lines), abs=0.01)
    assert isinstance(bound.as_of, datetime.date)


def test_converting_photos_is_one_more_job():
    config = cloud_config()
    without, converting = (cost.upper_bound(config, converts) for converts in (False, True))
    assert converting.lines[0].usd == pytest.approx(without.lines[0].usd * 5 / 4)


def test_workers_are_counted_and_other_regions_cost_more():
    alone = cost.upper_bound(cloud_config()).usd
    pool = "cloud.training.worker={preset: T4_1X, replicas: 3}"
    assert len(cost.upper_bound(cloud_config(pool)).lines) == 4
    elsewhere = cost.upper_bound(cloud_config("cloud.region=europe-west4"))
    assert elsewhere.usd == pytest.approx(1.5 * alone, abs=0.02)


def test_without_jobs_only_the_tasks_cost():
    bound = cost.upper_bound(cloud_config("cloud.dataflow=null", "cloud.training=null"))
    assert [line.what for line in bound.lines] == ["pipeline tasks"]


def test_a_deployed_model_costs_by_the_day():
    line = cost.deployed_a_day(cloud_config("push.vertex={min_replicas: 2, max_replicas: 3}"))
    assert line.quantity == "2 x n1-standard-2"
    assert line.usd == pytest.approx(24 * 2 * (2 * 0.036355 + 7.5 * 0.004873))
    assert cost.deployed_a_day(cloud_config("push={target: folder, vertex: null}")) is None
    assert cost.deployed_a_day(cloud_config("push.vertex.machine_type=n9-huge")) is None


def test_every_machine_and_accelerator_has_a_price():
    table = cost.prices()
    for name, machine in catalog().machines.items():
        assert name.partition("-")[0] in table["machines"]
        assert set(machine.takes) <= set(table["accelerators"])


def test_each_beam_component_is_reckoned():
    from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

    from pipeline.pipeline import create_pipeline

    nodes = create_pipeline(cloud_config("cloud.training=null")).components
    with_beam = {node.id for node in nodes if isinstance(node.executor_spec, BeamExecutorSpec)}
    assert with_beam == set(cost.BEAM_COMPONENTS)
