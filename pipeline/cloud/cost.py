"""What one run may cost at most: every machine for as long as its limit allows."""

import dataclasses
import datetime
import functools
import math
from pathlib import Path

import yaml

from pipeline.cloud.catalog import catalog
from pipeline.config import Config

BEAM_COMPONENTS = ("ImportExampleGen", "StatisticsGen", "Transform", "Evaluator")
"""Components that are one Dataflow job each."""
OTHER_TASKS_H = 1.0
"""Hours in which the tasks that wait for no job are done, together; generous."""


@dataclasses.dataclass(frozen=True)
class Line:
    """One item of the bill."""

    what: str
    quantity: str
    usd: float


@dataclasses.dataclass(frozen=True)
class Bound:
    """The most that one run costs, and from which prices that follows."""

    lines: list[Line]
    as_of: datetime.date
    region: str
    factor: float
    """By which the list prices were raised because the run is in another region."""

    @property
    def usd(self) -> float:
        """The sum, rounded up to the cent."""
        return math.ceil(sum(line.usd for line in self.lines) * 100) / 100


@functools.cache
def prices() -> dict:
    """The price table."""
    return yaml.safe_load(Path(__file__).with_name("prices.yaml").read_text())


def upper_bound(config: Config, converts: bool = False) -> Bound:
    """The most that one run of `config` costs.

    Args:
      config: with `cloud`; its machines must be known, see `preflight`.
      converts: whether the photos are converted first, by one more Dataflow job.
    """
    cloud, table = config.cloud, prices()
    factor = 1.0 if cloud.region == table["region"] else table["elsewhere"]
    lines, waiting_h = [], OTHER_TASKS_H
    if cloud.dataflow:
        jobs = len(BEAM_COMPONENTS) + converts
        hours = jobs * cloud.dataflow.timeout_h
        waiting_h += len(BEAM_COMPONENTS) * cloud.dataflow.timeout_h
        workers = cloud.dataflow.max_workers
        lines.append(
            Line(
                "Dataflow",
                f"{jobs} jobs x {cloud.dataflow.timeout_h:g} h x {workers} "
                f"{cloud.dataflow.machine_type}",
                hours * workers * _dataflow_worker_h(cloud.dataflow),
            )
        )
    if cloud.training:
        waiting_h += cloud.training.timeout_h
        for name, pool in cloud.training.pools.items():
            accelerators = f" + {pool.accelerator_count} {pool.accelerator_type}"
            lines.append(
                Line(
                    f"training, {name}",
                    f"{cloud.training.timeout_h:g} h x {pool.replicas} {pool.machine_type}"
                    + (accelerators if pool.accelerator_type else ""),
                    cloud.training.timeout_h * pool.replicas * _training_h(pool, cloud.training),
                )
            )
    task_machine = table["pipelines"]["task_machine"]
    lines.append(
        Line(
            "pipeline tasks",
            f"{waiting_h:g} h x {task_machine}, 1 run",
            waiting_h * _machine_h(task_machine) + table["pipelines"]["run"],
        )
    )
    lines = [dataclasses.replace(line, usd=line.usd * factor) for line in lines]
    return Bound(lines, table["as_of"], table["region"], factor)


def deployed_a_day(config: Config) -> Line | None:
    """What a pushed model costs a day, without requests; None where that is not known."""
    push = config.push
    if push.target == "vertex":
        machine, count = push.vertex.machine_type, push.vertex.min_replicas
    elif push.target == "ai_platform":
        machine, count = push.ai_platform.machine_type, push.ai_platform.min_nodes
    else:
        return None
    if machine not in catalog().machines:
        return None
    factor = 1.0 if config.cloud.region == prices()["region"] else prices()["elsewhere"]
    return Line("deployed model", f"{count} x {machine}", 24 * count * _machine_h(machine) * factor)


def _machine_h(name: str) -> float:
    machine, family = catalog().machines[name], prices()["machines"][name.partition("-")[0]]
    return machine.cpus * family["cpu_h"] + machine.gb * family["gb_h"]


def _training_h(pool, training) -> float:
    accelerators = prices()["accelerators"].get(pool.accelerator_type, 0) * pool.accelerator_count
    disk = training.disk_gb * prices()["training_disk_gb_h"]
    return _machine_h(pool.machine_type) + accelerators + disk


def _dataflow_worker_h(dataflow) -> float:
    machine, price = catalog().machines[dataflow.machine_type], prices()["dataflow"]
    compute = machine.cpus * price["cpu_h"] + machine.gb * price["gb_h"]
    return compute + dataflow.disk_gb * price["disk_gb_h"]
