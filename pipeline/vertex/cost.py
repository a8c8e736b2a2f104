"""What one run may cost at most: every machine for as long as its limit allows."""

import dataclasses
import datetime
import functools
import math
from pathlib import Path

import yaml

from pipeline.cloud.dataflow import COMPONENTS
from pipeline.config.catalog import catalog
from pipeline.config.cloud import DataflowConfig, PoolConfig
from pipeline.config.schema import Config

OTHER_TASKS_H = 1.0
"""Hours in which the tasks that wait for no job are reckoned to be done, together; generous, but no
limit: Vertex AI has none to set on a task."""


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
    unlimited: list[str]
    """Work that nothing ends, which makes this no bound: what it is and what to set."""

    @property
    def usd(self) -> float:
        """The sum, rounded up to the cent."""
        return math.ceil(sum(line.usd for line in self.lines) * 100) / 100


@functools.cache
def prices() -> dict:
    """The price table."""
    return yaml.safe_load(Path(__file__).with_name("prices.yaml").read_text())


def upper_bound(config: Config, converts: bool = False, tasks: bool = True) -> Bound:
    """The most that one run of `config` costs.

    Args:
        config: with `cloud`; its machines must be known, see `preflight`.
        converts: whether Dataflow converts the photos first.
        tasks: whether Vertex AI Pipelines runs the tasks; else this machine does.
    """
    jobs = converts + len(COMPONENTS)
    lines = [*_dataflow(config, jobs), *_training(config)]
    if tasks:
        lines.append(_tasks(config))
    return _bound(config, lines, _unlimited(config) if tasks else [])


def conversion_bound(config: Config) -> Bound:
    """The most that the conversion of the photos by Dataflow costs."""
    return _bound(config, _dataflow(config, 1), [])


def deployed_a_day(config: Config) -> list[Line]:
    """What a pushed model costs a day, without requests; none where that is not known.

    A second line is the most that it may grow to: all replicas, and on Vertex AI two versions where
    one stays deployed beside the other.
    """
    push = getattr(config.push, config.push.target, None)
    if push is None or push.machine_type not in catalog().machines:
        return []
    if config.push.target == "vertex":
        versions = 2 if push.canary_percent < 100 or push.keep_deployed else 1
        counts = sorted({push.min_replicas, push.max_replicas * versions})
    else:
        counts = [push.min_nodes]
    day = 24 * _machine_h(push.machine_type, *_comes_with(push.machine_type)) * _factor(push.region)
    return [Line("deployed model", f"{n} x {push.machine_type}", n * day) for n in counts]


def _bound(config: Config, lines: list[Line], unlimited: list[str]) -> Bound:
    table, factor = prices(), _factor(config.cloud.region)
    lines = [dataclasses.replace(line, usd=line.usd * factor) for line in lines]
    return Bound(lines, table["as_of"], table["region"], factor, unlimited)


def _factor(region: str) -> float:
    return 1.0 if region == prices()["region"] else prices()["elsewhere"]


def _unlimited(config: Config) -> list[str]:
    """What is done inside tasks, for which Vertex AI has no limit."""
    found = []
    if config.cloud.dataflow is None:
        found.append("Beam works inside the tasks: set cloud.dataflow={}")
    if config.cloud.training is None:
        found.append("training is done inside a task: set cloud.training={chief: {preset: CPU}}")
    return found


def _dataflow(config: Config, jobs: int) -> list[Line]:
    dataflow = config.cloud.dataflow
    if dataflow is None:
        return []
    workers, hours = dataflow.max_workers, dataflow.timeout_h
    quantity = f"{jobs} job{'s' * (jobs > 1)} x {hours:g} h x {workers} {dataflow.machine_type}"
    return [Line("Dataflow", quantity, jobs * hours * workers * _dataflow_worker_h(dataflow))]


def _training(config: Config) -> list[Line]:
    training, lines = config.cloud.training, []
    for name, pool in training.pools.items() if training else ():
        accelerators = f" + {pool.accelerator_count} {pool.accelerator_type}"
        lines.append(
            Line(
                f"training, {name}",
                f"{training.timeout_h:g} h x {pool.replicas} {pool.machine_type}"
                + (accelerators if pool.accelerator_type else ""),
                training.timeout_h * pool.replicas * _replica_h(pool, training.disk_gb),
            )
        )
    return lines


def _tasks(config: Config) -> Line:
    """The tasks: those that wait for a job as long as it may take, the others together."""
    cloud, table = config.cloud, prices()["pipelines"]
    hours = OTHER_TASKS_H
    hours += len(COMPONENTS) * cloud.dataflow.timeout_h if cloud.dataflow else 0
    hours += cloud.training.timeout_h if cloud.training else 0
    machine = table["task_machine"]
    an_hour = _machine_h(machine) + table["task_disk_gb"] * prices()["disk_gb_h"]
    return Line("pipeline tasks", f"{hours:g} h x {machine}, 1 run", hours * an_hour + table["run"])


def _replica_h(pool: PoolConfig, disk_gb: int) -> float:
    machine = _machine_h(pool.machine_type, pool.accelerator_type, pool.accelerator_count)
    return machine + disk_gb * prices()["disk_gb_h"]


def _machine_h(name: str, accelerator: str | None = None, count: int = 0) -> float:
    machine, family = catalog().machines[name], prices()["machines"][name.partition("-")[0]]
    more = count * prices()["accelerators"][accelerator] if accelerator else 0.0
    return machine.cpus * family["cpu_h"] + machine.gb * family["gb_h"] + more


def _comes_with(name: str) -> tuple[str | None, int]:
    """Accelerators that a machine always has."""
    machine = catalog().machines[name]
    return next(((kind, n[0]) for kind, n in machine.takes.items() if machine.needs), (None, 0))


def _dataflow_worker_h(dataflow: DataflowConfig) -> float:
    machine, price = catalog().machines[dataflow.machine_type], prices()["dataflow"]
    compute = machine.cpus * price["cpu_h"] + machine.gb * price["gb_h"]
    return compute + dataflow.disk_gb * price["disk_gb_h"]
