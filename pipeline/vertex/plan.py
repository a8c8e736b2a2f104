"""The text of `plan`: what a run uses, creates and costs."""

from pipeline import placement
from pipeline.cloud import resources
from pipeline.cloud.dataflow import COMPONENTS
from pipeline.config.cloud import DataflowConfig, PoolConfig, TrainingConfig
from pipeline.config.schema import Config
from pipeline.vertex import cost, preflight


def describe(config: Config, bucket: str, converts: bool = False) -> str:
    """The plan of a run.

    Args:
        config: with `cloud`, free of errors.
        bucket: text about the bucket, e.g. from `bucket.check`.
        converts: whether Dataflow converts the photos first.
    """
    cloud = resources.cloud_section(config)
    bound = cost.upper_bound(config, converts)
    rows = [
        ("bucket", f"{cloud.address}  {bucket}"),
        ("records", f"{placement.records(config)}/<digest>"),
        ("artifacts", placement.artifacts(config)),
        ("image", cloud.image),
        ("run as", cloud.service_account),
        ("Dataflow", _dataflow(cloud.dataflow, converts)),
        *_training(cloud.training),
        ("push", config.push.target),
        ("labels", " ".join(f"{key}={value}" for key, value in resources.labels(config).items())),
    ]
    lines = [
        f"{config.name} on Google Cloud: project {cloud.project}, region {cloud.region}",
        "",
        "uses",
        *(f"  {name:<12}{value}" for name, value in rows),
        "",
        describe_cost(bound),
        *(f"  {item.name:<18}{item.usd:>9,.2f}  {item.quantity}" for item in bound.items),
        f"  {_prices(bound)}",
        "  assumes that every machine runs until its limit (timeout_h); most runs end far earlier",
        f"  assumes {cost.OTHER_TASKS_H:g} h for the tasks that start no job, which have no limit",
        "  excludes Dataflow's shuffle, storage, logs and network traffic",
        *_serving(config),
    ]
    if hints := preflight.check(config).hints:
        lines += ["", "check", *(f"  {hint}" for hint in hints)]
    return "\n".join(lines)


def describe_cost(bound: cost.CostBound) -> str:
    """The upper bound of a run's cost in a line, or why there is none."""
    if bound.unlimited:
        return f"the cost of a run has no bound: {'; '.join(bound.unlimited)}"
    return f"one run costs at most {bound.usd:,.2f} USD"


def _serving(config: Config) -> list[str]:
    items = cost.serving_cost_per_day(config)
    if not items:
        return ["  excludes the deployed model, which costs until it is undeployed"]
    least, *most = items
    text = f"then {least.usd:,.2f} USD a day for the {least.name}, {least.quantity}"
    text += "".join(f", up to {item.usd:,.2f} for {item.quantity}" for item in most)
    return [f"{text}, until undeployed"]


def _dataflow(dataflow: DataflowConfig | None, converts: bool) -> str:
    if dataflow is None:
        return "not used: Beam runs inside each task"
    jobs = [*(["the conversion"] if converts else []), *COMPONENTS]
    return f"1 to {dataflow.max_workers} {dataflow.machine_type} a job: {', '.join(jobs)}"


def _training(training: TrainingConfig | None) -> list[tuple[str, str]]:
    if training is None:
        return [("training", "inside the Trainer's task")]
    return [("training", f"{name}: {_pool(pool)}") for name, pool in training.pools.items()]


def _pool(pool: PoolConfig) -> str:
    machines = f"{pool.replicas} x {pool.machine_type}"
    if pool.accelerator_type is None:
        return machines
    return f"{machines} + {pool.accelerator_count} {pool.accelerator_type}"


def _prices(bound: cost.CostBound) -> str:
    raised = f", x {bound.factor:g} for another region" if bound.factor != 1 else ""
    return f"list prices of {bound.region} as of {bound.as_of}{raised}: pipeline/vertex/prices.yaml"
