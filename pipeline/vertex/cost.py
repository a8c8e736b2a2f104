"""Upper bound of a run's cost: every machine until its time limit."""

import dataclasses
import datetime
import functools
import math
from pathlib import Path
from typing import Any

import yaml

from pipeline.cloud import resources
from pipeline.cloud.dataflow import COMPONENTS
from pipeline.config.catalog import catalog
from pipeline.config.cloud import DataflowConfig, PoolConfig
from pipeline.config.push import AiPlatformConfig, VertexConfig
from pipeline.config.schema import Config

OTHER_TASKS_H = 1.0
"""Hours assumed for all tasks that wait for no job, together; Vertex AI does not limit tasks."""


@dataclasses.dataclass(frozen=True)
class CostItem:
    """One item of the bill."""

    name: str
    quantity: str
    usd: float


@dataclasses.dataclass(frozen=True)
class CostBound:
    """Upper bound of a run's cost, with the prices it follows from."""

    items: list[CostItem]
    as_of: datetime.date
    region: str
    factor: float
    """Factor on the list prices if the run is in another region than they are for."""
    unlimited: list[str]
    """Work without a time limit, and what to set; with any, the cost has no bound."""

    @property
    def usd(self) -> float:
        """The sum, rounded up to the cent."""
        return math.ceil(sum(item.usd for item in self.items) * 100) / 100


@functools.cache
def prices() -> dict[str, Any]:
    """The content of `prices.yaml`."""
    content: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("prices.yaml").read_text())
    return content


def upper_bound(config: Config, converts: bool = False, tasks: bool = True) -> CostBound:
    """Upper bound of the cost of one run.

    Args:
        config: with `cloud`, checked by `preflight.check`.
        converts: whether Dataflow converts the photos first.
        tasks: whether Vertex AI Pipelines runs the tasks, rather than this machine.
    """
    jobs = converts + len(COMPONENTS)
    items = [*_dataflow(config, jobs), *_training(config)]
    if tasks:
        items.append(_tasks(config))
    return _bound(config, items, _unlimited(config) if tasks else [])


def conversion_bound(config: Config) -> CostBound:
    """Upper bound of the cost of converting the photos on Dataflow."""
    return _bound(config, _dataflow(config, 1), [])


def serving_cost_per_day(config: Config) -> list[CostItem]:
    """Daily cost of a pushed model: without load and, if that differs, with all its replicas.

    On Vertex AI all replicas are those of two versions if a second one stays deployed.

    Returns:
        One or two items; empty if the target is a folder or the machine type has no price.
    """
    push = config.push
    target: AiPlatformConfig | VertexConfig
    if push.target == "vertex" and push.vertex:
        target = push.vertex
        versions = 2 if target.canary_percent < 100 or target.keep_deployed else 1
        counts = sorted({target.min_replicas, target.max_replicas * versions})
    elif push.target == "ai_platform" and push.ai_platform:
        target = push.ai_platform
        counts = [target.min_nodes]
    else:
        return []
    machine = target.machine_type
    if machine not in catalog().machines:
        return []
    day = 24 * _machine_h(machine, *_built_in_accelerators(machine)) * _factor(target.region)
    return [CostItem("deployed model", f"{n} x {machine}", n * day) for n in counts]


def _bound(config: Config, items: list[CostItem], unlimited: list[str]) -> CostBound:
    table, factor = prices(), _factor(resources.cloud_section(config).region)
    items = [dataclasses.replace(item, usd=item.usd * factor) for item in items]
    return CostBound(items, table["as_of"], table["region"], factor, unlimited)


def _factor(region: str) -> float:
    return 1.0 if region == prices()["region"] else prices()["elsewhere"]


def _unlimited(config: Config) -> list[str]:
    """Work inside tasks, which have no time limit on Vertex AI."""
    cloud, found = resources.cloud_section(config), []
    if cloud.dataflow is None:
        found.append("Beam runs inside the tasks: set cloud.dataflow={}")
    if cloud.training is None:
        found.append("training runs inside a task: set cloud.training={chief: {preset: CPU}}")
    return found


def _dataflow(config: Config, jobs: int) -> list[CostItem]:
    dataflow = resources.cloud_section(config).dataflow
    if dataflow is None:
        return []
    workers, hours = dataflow.max_workers, dataflow.timeout_h
    quantity = f"{jobs} job{'s' * (jobs > 1)} x {hours:g} h x {workers} {dataflow.machine_type}"
    return [CostItem("Dataflow", quantity, jobs * hours * workers * _dataflow_worker_h(dataflow))]


def _training(config: Config) -> list[CostItem]:
    training = resources.cloud_section(config).training
    if training is None:
        return []
    items = []
    for name, pool in training.pools.items():
        accelerators = f" + {pool.accelerator_count} {pool.accelerator_type}"
        items.append(
            CostItem(
                f"training, {name}",
                f"{training.timeout_h:g} h x {pool.replicas} {pool.machine_type}"
                + (accelerators if pool.accelerator_type else ""),
                training.timeout_h * pool.replicas * _replica_h(pool, training.disk_gb),
            )
        )
    return items


def _tasks(config: Config) -> CostItem:
    """The tasks: those that wait for a job until its time limit, all others in `OTHER_TASKS_H`."""
    cloud, table = resources.cloud_section(config), prices()["pipelines"]
    hours = OTHER_TASKS_H
    hours += len(COMPONENTS) * cloud.dataflow.timeout_h if cloud.dataflow else 0
    hours += cloud.training.timeout_h if cloud.training else 0
    machine = table["task_machine"]
    per_hour = _machine_h(machine) + table["task_disk_gb"] * prices()["disk_gb_h"]
    usd = hours * per_hour + table["run"]
    return CostItem("pipeline tasks", f"{hours:g} h x {machine}, 1 run", usd)


def _replica_h(pool: PoolConfig, disk_gb: int) -> float:
    """USD per hour of one replica."""
    machine = _machine_h(pool.machine_type, pool.accelerator_type, pool.accelerator_count)
    return machine + disk_gb * prices()["disk_gb_h"]


def _machine_h(name: str, accelerator: str | None = None, count: int = 0) -> float:
    """USD per hour of a machine with its accelerators, in the region of the price table."""
    machine, family = catalog().machines[name], prices()["machines"][name.partition("-")[0]]
    usd: float = machine.cpus * family["cpu_h"] + machine.gb * family["gb_h"]
    return usd + (count * prices()["accelerators"][accelerator] if accelerator else 0.0)


def _built_in_accelerators(name: str) -> tuple[str | None, int]:
    """Type and count of the accelerators that are part of a machine type; (None, 0) if none are."""
    machine = catalog().machines[name]
    if not machine.requires_accelerator:
        return None, 0
    accelerator, counts = next(iter(machine.accelerators.items()))
    return accelerator, counts[0]


def _dataflow_worker_h(dataflow: DataflowConfig) -> float:
    machine, price = catalog().machines[dataflow.machine_type], prices()["dataflow"]
    compute: float = machine.cpus * price["cpu_h"] + machine.gb * price["gb_h"]
    return compute + dataflow.disk_gb * price["disk_gb_h"]
