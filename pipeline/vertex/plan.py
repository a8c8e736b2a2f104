"""What a run would use, make and cost, as text."""

from pipeline import placement
from pipeline.cloud import resources
from pipeline.config.cloud import PoolConfig
from pipeline.config.schema import Config
from pipeline.vertex import cost, preflight


def text(config: Config, bucket: str, converts: bool = False) -> str:
    """The plan of a run.

    Args:
        config: with `cloud`, free of errors.
        bucket: what is known of the bucket.
        converts: whether Dataflow converts photos first.
    """
    cloud = config.cloud
    bound = cost.upper_bound(config, converts)
    rows = [
        ("bucket", f"{cloud.address}  {bucket}"),
        ("records", f"{placement.records(config)}/<digest>"),
        ("artifacts", placement.artifacts(config)),
        ("image", cloud.image),
        ("run as", cloud.service_account),
        ("Dataflow", _dataflow(config, converts)),
        *_training(config),
        ("push", config.push.target),
        ("labels", " ".join(f"{key}={value}" for key, value in resources.labels(config).items())),
    ]
    lines = [
        f"{config.name} on Google Cloud: project {cloud.project}, region {cloud.region}",
        "",
        "will be used",
        *(f"  {name:<12}{value}" for name, value in rows),
        "",
        describe_cost(bound),
        *(f"  {line.what:<18}{line.usd:>9,.2f}  {line.quantity}" for line in bound.lines),
        f"  {_prices(bound)}",
        "  every machine is reckoned until its limit (timeout_h): runs mostly end long before it",
        f"  tasks that start no job have no limit: {cost.OTHER_TASKS_H:g} h is reckoned for them",
        "  not in it: Dataflow's shuffle, and what is stored, logged or sent elsewhere",
        *_deployed(config),
    ]
    if hints := preflight.check(config).hints:
        lines += ["", "look at", *(f"  {hint}" for hint in hints)]
    return "\n".join(lines)


def describe_cost(bound: cost.Bound) -> str:
    """The most that a run costs, or why that is not known."""
    if bound.unlimited:
        return f"what one run costs has no bound: {'; '.join(bound.unlimited)}"
    return f"one run costs at most {bound.usd:,.2f} USD"


def _deployed(config: Config) -> list[str]:
    least, *most = cost.deployed_a_day(config) or [None]
    if least is None:
        return ["  nor what a deployed model costs until it is undeployed"]
    told = f"then {least.usd:,.2f} USD a day for the {least.what}, {least.quantity}"
    told += "".join(f", up to {line.usd:,.2f} for {line.quantity}" for line in most)
    return [f"{told}, until undeployed"]


def _dataflow(config: Config, converts: bool) -> str:
    dataflow = config.cloud.dataflow
    if dataflow is None:
        return "not used: Beam works inside each task"
    jobs = [*(["the conversion"] if converts else []), *dataflow.COMPONENTS]
    return f"1 to {dataflow.max_workers} {dataflow.machine_type} a job: {', '.join(jobs)}"


def _training(config: Config) -> list[tuple[str, str]]:
    training = config.cloud.training
    if training is None:
        return [("training", "inside the Trainer's task")]
    return [("training", f"{name}: {_pool(pool)}") for name, pool in training.pools.items()]


def _pool(pool: PoolConfig) -> str:
    machines = f"{pool.replicas} x {pool.machine_type}"
    if pool.accelerator_type is None:
        return machines
    return f"{machines} + {pool.accelerator_count} {pool.accelerator_type}"


def _prices(bound: cost.Bound) -> str:
    raised = f", x {bound.factor:g} for another region" if bound.factor != 1 else ""
    return f"list prices of {bound.region} as of {bound.as_of}{raised}: pipeline/vertex/prices.yaml"
