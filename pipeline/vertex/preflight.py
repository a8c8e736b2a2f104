"""Checks a cloud config before the first request is sent."""

import dataclasses
import re

from data.storage import files
from pipeline.config.catalog import catalog
from pipeline.config.cloud import CloudConfig, PoolConfig
from pipeline.config.schema import BeamConfig, Config

# Docker's own rules: https://docs.docker.com/reference/cli/docker/image/tag
_IMAGE = re.compile(
    r"(?P<host>[a-z0-9.-]+(?::\d+)?)/(?P<path>[a-z0-9._-]+(?:/[a-z0-9._-]+)*)"
    r"(?::(?P<tag>[\w][\w.-]{0,127})|@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_JOB_ID_LIMIT = 128
_TIMESTAMP = len("-20260101000000")


class PreflightError(ValueError):
    """The config or the arguments are invalid; the message has a line for each reason."""


@dataclasses.dataclass(frozen=True)
class Findings:
    """Result of the checks."""

    errors: list[str]
    """Settings that Google Cloud would reject, with valid ones."""
    hints: list[str]
    """What to check by hand, e.g. quotas."""

    def raise_errors(self) -> None:
        """Raises PreflightError with all errors, if there are any."""
        if self.errors:
            count = len(self.errors)
            head = f"{count} invalid setting{'s' * (count > 1)}; nothing was sent"
            raise PreflightError("\n  ".join([head, *self.errors]))


def check(config: Config) -> Findings:
    """Checks the config without a request to Google Cloud."""
    cloud = config.cloud
    if cloud is None:
        return Findings(["cloud is not set: start from conf/production.yaml"], [])
    errors = _image_errors("cloud.image", cloud.image)
    if cloud.training_image:
        errors += _image_errors("cloud.training_image", cloud.training_image)
    if cloud.dataflow and (wrong := _worker_error(cloud.dataflow.machine_type)):
        errors.append(f"cloud.dataflow.machine_type: {wrong}")
    pools = cloud.training.pools if cloud.training else {}
    for name, pool in pools.items():
        errors += [f"cloud.training.{name}: {wrong}" for wrong in _pool_errors(pool)]
    if cloud.dataflow and config.beam != BeamConfig():
        errors.append(
            "beam.pipeline_args has no effect with Dataflow; to use it, set cloud.dataflow=null"
        )
    if len(config.name) + _TIMESTAMP > _JOB_ID_LIMIT:
        errors.append(
            f"name is too long for a run id: {len(config.name)} characters; at most "
            f"{_JOB_ID_LIMIT - _TIMESTAMP}"
        )
    if cloud.subnetwork and cloud.subnetwork.split("/")[1] != cloud.region:
        errors.append(
            f"cloud.subnetwork is not in {cloud.region}: {cloud.subnetwork}; Dataflow needs one in "
            "its own region"
        )
    if config.push.target == "folder":
        errors.append(
            "push.target=folder is a local folder: set vertex or ai_platform, with "
            "project, region and models_at under push.vertex or push.ai_platform"
        )
    elif wrong := _unknown_machine(getattr(config.push, config.push.target).machine_type):
        errors.append(f"push.{config.push.target}.machine_type: {wrong}")
    weights = config.model.arguments.get("weights")
    if weights and not files.is_remote(weights):
        errors.append(
            f"model.arguments.weights is a local file, {weights}: copy it to "
            f"{cloud.address}/weights/ and set that path"
        )
    if config.wandb.mode == "online":
        errors.append(
            "wandb.mode=online needs a key inside the containers, but a compiled pipeline holds no "
            "secrets: set wandb.mode=offline and mirror the run afterwards"
        )
    return Findings(errors, [*_region_hints(cloud), *_quota_hints(cloud)])


def _image_errors(setting: str, image: str) -> list[str]:
    match = _IMAGE.fullmatch(image)
    if not match:
        return [f"{setting} is not an image name: {image!r}; expected HOST/PATH:TAG"]
    if not (match["tag"] or match["digest"]):
        return [f"{setting} has no tag: {image}; add one, e.g. {image}:1.0"]
    if match["tag"] == "latest":
        return [
            f"{setting} is {image}: `latest` changes without a change of the cache key; "
            "set a fixed tag"
        ]
    return []


def _unknown_machine(name: str) -> str | None:
    if name in catalog().machines:
        return None
    return (
        f"unknown machine type {name}; known: {', '.join(catalog().machines)}; add others to "
        "pipeline/config/catalog.yaml"
    )


def _worker_error(name: str) -> str | None:
    wrong = _unknown_machine(name)
    if not wrong and catalog().machines[name].requires_accelerator:
        return f"{name} comes with accelerators, which Beam does not use; set e.g. n1-standard-4"
    return wrong


def _pool_errors(pool: PoolConfig) -> list[str]:
    if wrong := _unknown_machine(pool.machine_type):
        return [wrong]
    machine = catalog().machines[pool.machine_type]
    if not machine.custom_training:
        return [f"Vertex AI does not train on {pool.machine_type}; set e.g. n1-standard-4"]
    kind, count = pool.accelerator_type, pool.accelerator_count
    if kind is None:
        if machine.requires_accelerator:
            (needed, counts) = next(iter(machine.accelerators.items()))
            return [f"{pool.machine_type} comes with {needed} x {counts[0]}: set them"]
        return []
    if count in machine.accelerators.get(kind, []):
        return []
    if kind not in machine.accelerators:
        fitting = [name for name, other in catalog().machines.items() if kind in other.accelerators]
        allowed = f"machines with {kind}: {', '.join(fitting) or 'none known'}"
    else:
        allowed = f"it takes {', '.join(map(str, machine.accelerators[kind]))}"
    return [f"{pool.machine_type} does not take {count} x {kind}; {allowed}"]


def _region_hints(cloud: CloudConfig) -> list[str]:
    hints = []
    for setting, image in (("image", cloud.image), ("training_image", cloud.training_image)):
        place, registry, _ = (image or "").partition("-docker.pkg.dev/")
        if registry and not cloud.region.startswith(place):
            hints.append(f"cloud.{setting} is in {place}, far from {cloud.region}")
    owner = cloud.service_account.partition("@")[2].partition(".")[0]
    if owner != cloud.project:
        hints.append(f"cloud.service_account belongs to {owner}, not to {cloud.project}")
    return hints


def _quota_hints(cloud: CloudConfig) -> list[str]:
    needed: dict[str, int] = {}
    for pool in cloud.training.pools.values() if cloud.training else ():
        if pool.accelerator_type in catalog().quotas:
            quota = catalog().quotas[pool.accelerator_type]
            needed[quota] = needed.get(quota, 0) + pool.accelerator_count * pool.replicas
    hints = [
        f"quota {quota} of at least {count} in {cloud.region}; new projects have 0"
        for quota, count in needed.items()
    ]
    if (workers := cloud.dataflow) and (machine := catalog().machines.get(workers.machine_type)):
        some = {"CPUS": workers.max_workers * machine.cpus}
        if not cloud.subnetwork:  # with one they have no public addresses
            some["IN_USE_ADDRESSES"] = workers.max_workers
        hints += [
            f"quota {quota} of at least {count} in {cloud.region}, for Dataflow's workers"
            for quota, count in some.items()
        ]
    page = f"https://console.cloud.google.com/iam-admin/quotas?project={cloud.project}"
    return [*hints, f"quotas: {page}"] if hints else []
