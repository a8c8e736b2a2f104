"""Upper bounds of the cost, against figures computed by hand from the list prices."""

import datetime

import pytest

from pipeline.cloud import dataflow
from pipeline.config.catalog import catalog
from pipeline.vertex import cost
from tests.pipeline.cloud.settings import cloud_config


def usd(bound) -> list[float]:
    return [round(item.usd, 2) for item in bound.items]


def test_the_bound_is_every_machine_until_its_limit():
    bound = cost.upper_bound(
        cloud_config(
            "cloud.dataflow={machine_type: n1-standard-4, max_workers: 3, timeout_h: 2}",
            "cloud.training={chief: {preset: T4_4X}, timeout_h: 2, disk_gb: 100}",
        )
    )
    # A worker with its 50 GB: 0.28 USD an hour, by 4 jobs x 2 h x 3. A T4_4X: 0.87 for the machine,
    # 1.61 for four T4 and 0.03 for its SSD, by 2 h. Tasks: 0.18 an hour with their SSD, by 11 h.
    assert usd(bound) == [6.72, 5.02, 2.02]
    assert bound.usd == pytest.approx(13.77, abs=0.011)
    assert isinstance(bound.as_of, datetime.date)
    assert bound.unlimited == []


def test_an_a100_costs_what_training_takes_for_it():
    (_, training, _) = cost.upper_bound(
        cloud_config("cloud.training={chief: {preset: A100_1X}, timeout_h: 1}")
    ).items
    # Compute Engine's 3.67 USD an hour of an a2-highgpu-1g and 15 %; 0.03 for the disk.
    assert training.usd == pytest.approx(3.67 * 1.15 + 0.027, abs=0.01)


def test_the_disk_is_an_ssd():
    small, large = (
        cost.upper_bound(cloud_config(f"cloud.training={{timeout_h: 1, disk_gb: {gb}}}")).usd
        for gb in (100, 1100)
    )
    # 0.17 USD a GB and month, and 15 %.
    assert large - small == pytest.approx(1000 * 0.17 * 1.15 / 730, abs=0.02)


def test_converting_photos_is_one_more_job():
    config = cloud_config()
    without, converting = (cost.upper_bound(config, converts) for converts in (False, True))
    assert converting.items[0].usd == pytest.approx(without.items[0].usd * 5 / 4)
    assert cost.conversion_bound(config).items[0].usd == pytest.approx(without.items[0].usd / 4)


def test_local_orchestration_has_no_task_costs():
    config = cloud_config()
    there, here = (cost.upper_bound(config, tasks=tasks) for tasks in (True, False))
    assert here.items == there.items[:-1]


def test_workers_are_counted_and_other_regions_cost_more():
    alone = cost.upper_bound(cloud_config()).usd
    pool = "cloud.training.worker={preset: T4_1X, replicas: 3}"
    assert len(cost.upper_bound(cloud_config(pool)).items) == 4
    elsewhere = cost.upper_bound(cloud_config("cloud.region=europe-west4"))
    assert elsewhere.usd == pytest.approx(1.5 * alone, abs=0.02)


@pytest.mark.parametrize("missing", ["dataflow", "training"])
def test_work_inside_a_task_has_no_bound(missing):
    config = cloud_config(f"cloud.{missing}=null")
    (told,) = cost.upper_bound(config).unlimited
    assert f"set cloud.{missing}=" in told
    # From here, it is done on this machine, and costs nothing.
    assert cost.upper_bound(config, tasks=False).unlimited == []


@pytest.mark.parametrize(
    "push, expected",
    [
        # 0.1093 USD an hour of an n1-standard-2.
        ("vertex={}", {"1 x n1-standard-2": 2.62}),
        (
            "vertex={min_replicas: 2, max_replicas: 3, canary_percent: 10}",
            {"2 x n1-standard-2": 5.24, "6 x n1-standard-2": 15.73},
        ),
        ("vertex={keep_deployed: true}", {"1 x n1-standard-2": 2.62, "2 x n1-standard-2": 5.24}),
        ("vertex={region: europe-west4}", {"1 x n1-standard-2": 3.93}),
        # 0.17 an hour, and 0.64 for its L4.
        ("vertex={machine_type: g2-standard-4}", {"1 x g2-standard-4": 19.51}),
        ("vertex={machine_type: n9-huge}", {}),
    ],
)
def test_a_deployed_model_costs_by_the_day(push, expected):
    lines = cost.serving_cost_per_day(cloud_config(f"push.{push}"))
    assert {line.quantity: round(line.usd, 2) for line in lines} == expected


def test_a_folder_costs_nothing_a_day():
    assert cost.serving_cost_per_day(cloud_config("push={target: folder, vertex: null}")) == []


def test_every_machine_and_accelerator_has_a_price():
    table = cost.prices()
    for name, machine in catalog().machines.items():
        assert name.partition("-")[0] in table["machines"]
        assert set(machine.accelerators) <= set(table["accelerators"])


def test_each_beam_component_has_a_cost():
    from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

    from pipeline.pipeline import create_pipeline

    nodes = create_pipeline(cloud_config("cloud.training=null")).components
    with_beam = {node.id for node in nodes if isinstance(node.executor_spec, BeamExecutorSpec)}
    assert with_beam == set(dataflow.COMPONENTS)
