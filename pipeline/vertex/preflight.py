"""Whether a cloud config can work, found out before anything is sent."""

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
    """The config cannot work; every reason is a line of the message."""


@dataclasses.dataclass(frozen=True)
class Findings:
    """What was found."""

    errors: list[str]
    """What Google Cloud would refuse, and what to set instead."""
    hints: list[str]
    """What may go wrong, and the command that tells."""

    def raise_errors(self) -> None:
        """Raises PreflightError with all errors, if there are any."""
        if self.errors:
            count = len(self.errors)
            head = f"{count} setting{'s' * (count > 1)} cannot work; nothing was sent"
            raise PreflightError("\n  ".join([head, *self.errors]))


def check(config: Config) -> Findings:
    """Everything that can be known without asking Google Cloud."""
    cloud = config.cloud
    if cloud is None:
        return Findings(["cloud is not set: take conf/production.yaml as a start"], [])
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
            "beam.pipeline_args would not be used: Beam works on Dataflow; set cloud.dataflow=null"
        )
    if len(config.name) + _TIMESTAMP > _JOB_ID_LIMIT:
        errors.append(f"name is too long for a run's id: {len(config.name)} letters")
    if cloud.subnetwork and cloud.subnetwork.split("/")[1] != cloud.region:
        errors.append(
            f"cloud.subnetwork is not in {cloud.region}: {cloud.subnetwork}; Dataflow needs one of "
            "the region it works in"
        )
    if config.push.target == "folder":
        errors.append(
            "push.target=folder is a folder of one machine: set vertex or ai_platform, with "
            "project, region and models_at under push.vertex or push.ai_platform"
        )
    elif wrong := _unknown_machine(getattr(config.push, config.push.target).machine_type):
        errors.append(f"push.{config.push.target}.machine_type: {wrong}")
    weights = config.model.arguments.get("weights")
    if weights and not files.is_remote(weights):
        errors.append(
            f"model.arguments.weights is a file of this machine, {weights}: copy it to "
            f"{cloud.address}/weights/ and name that"
        )
    if config.wandb.mode == "online":
        errors.append(
            "wandb.mode=online needs a key inside the containers, and a compiled pipeline holds no "
            "secrets: set wandb.mode=offline, and mirror the run afterwards"
        )
    return Findings(errors, [*_region_hints(cloud), *_quota_hints(cloud)])


def _image_errors(setting: str, image: str) -> list[str]:
    match = _IMAGE.fullmatch(image)
    if not match:
        return [f"{setting} is no name of an image: {image!r}; expected HOST/PATH:TAG"]
    if not (match["tag"] or match["digest"]):
        return [f"{setting} has no tag: {image}; name the build, e.g. {image}:1.0"]
    if match["tag"] == "latest":
        return [
            f"{setting} is {image}: `latest` is another image tomorrow, and the cache would not "
            "notice; name the build"
        ]
    return []


def _unknown_machine(name: str) -> str | None:
    if name in catalog().machines:
        return None
    return (
        f"unknown machine type {name}; known: {', '.join(catalog().machines)}; another that Google "
        "has goes into pipeline/config/catalog.yaml"
    )


def _worker_error(name: str) -> str | None:
    wrong = _unknown_machine(name)
    if not wrong and catalog().machines[name].needs:
        return (
            f"{name} comes with accelerators, which Beam's work has no use for; e.g. n1-standard-4"
        )
    return wrong


def _pool_errors(pool: PoolConfig) -> list[str]:
    if wrong := _unknown_machine(pool.machine_type):
        return [wrong]
    machine = catalog().machines[pool.machine_type]
    if not machine.trains:
        return [f"Vertex AI does not train on {pool.machine_type}; e.g. n1-standard-4"]
    kind, count = pool.accelerator_type, pool.accelerator_count
    if kind is None:
        if machine.needs:
            (needed, counts) = next(iter(machine.takes.items()))
            return [f"{pool.machine_type} comes with {needed} x {counts[0]}: set them"]
        return []
    if count in machine.takes.get(kind, []):
        return []
    if kind not in machine.takes:
        fitting = [name for name, other in catalog().machines.items() if kind in other.takes]
        allowed = f"machines with {kind}: {', '.join(fitting) or 'none known'}"
    else:
        allowed = f"it takes {', '.join(map(str, machine.takes[kind]))}"
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
