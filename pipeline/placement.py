"""Folders, Beam flags and executors of a pipeline: local ones, or those of Google Cloud.

All functions read `config.cloud`: None means this machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.conversion import pool
from pipeline.artifacts.names import METADATA_FILE
from pipeline.cloud import dataflow, resources
from pipeline.config.cloud import PoolConfig

if TYPE_CHECKING:
    from tfx import v1 as tfx

    from pipeline.config.schema import Config

_LOCAL_RUNNER = "--runner=FnApiRunner"
_PACKAGES = ("--sdk_container_image", "--setup_file", "--extra_package", "--requirements_file")
_START_S = 45
"""Seconds that all components together take to start additional processes."""
_IMAGE_S = 0.0054
"""Seconds that all components together take for one image."""
_MARGIN = 2
_MAX_PROCESSES = 8  # each takes 1 GiB of memory or more


def artifacts(config: Config) -> str:
    """Folder of the components' artifacts."""
    return _absolute(config, "pipeline")


def serving(config: Config) -> str:
    """Folder that the push target `folder` pushes versions to."""
    return f"{_home(config)}/serving"


def records(config: Config) -> str:
    """Folder of the records that photos are converted to."""
    return f"{_home(config)}/records"


def features(config: Config) -> str:
    """Folder of the cached features of images."""
    return _absolute(config, "features")


def metadata_file(config: Config) -> Path:
    """SQLite file of ML Metadata in a local root."""
    return Path(config.root) / METADATA_FILE


def _absolute(config: Config, name: str) -> str:
    """Returns a subfolder of the home folder; a local one as an absolute path.

    ML Metadata and the Trainer's settings record the path, which must not depend on the working
    directory.
    """
    folder = f"{_home(config)}/{name}"
    return folder if "://" in folder else str(Path(folder).resolve())


def preset(config: Config) -> str:
    """Training preset of a pretrained network: as set, else by the available accelerators."""
    cloud = config.cloud
    if config.trainer.preset:
        return config.trainer.preset
    if cloud and cloud.training:
        return "best" if cloud.training.chief.accelerator_count else "fast"
    from models import phases  # imports TensorFlow to list the GPUs of this machine

    return phases.resolve_preset(config.trainer)


def beam_arguments(config: Config) -> list[str]:
    """Beam flags of the components."""
    cloud = config.cloud
    if cloud is None or cloud.dataflow is None:
        return _local_beam_arguments(config)
    flags = ["--runner=DataflowRunner"]
    for name, value in dataflow.options(config).items():
        if isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no_{name}")
        else:
            values = value if isinstance(value, list) else [value]
            flags += [f"--{name}={one}" for one in values]
    return flags


def _local_beam_arguments(config: Config) -> list[str]:
    flags = list(config.beam.pipeline_args)
    if _LOCAL_RUNNER not in flags:
        return flags
    if not any(flag.startswith(_PACKAGES) for flag in flags):
        # Without an image, TFX packages itself for each component and leaves 49 MB among the
        # temporary files. Local processes have the code and ignore the image.
        flags.append("--sdk_container_image=none")
    chosen = any(flag.startswith("--direct_") for flag in flags)
    if not chosen and (processes := beam_processes(config)) > 1:
        flags += ["--direct_running_mode=multi_processing", f"--direct_num_workers={processes}"]
    return flags


def beam_processes(config: Config) -> int:
    """Number of Beam processes on this machine: as set, else by the number of images and cores.

    Each component starts its processes anew, and each process imports TFX: `_START_S` seconds in
    all. In return, the processes share the work on the images, `_IMAGE_S` seconds each. `auto`
    chooses several processes if they save `_MARGIN` times what they cost: from 33,000 images on
    2 cores, 22,000 on 4 and 19,000 on 8. Both constants were measured on 2 cores
    (`python -m benchmarks.beam_processes`); the gain of more cores is computed, not measured.
    """
    if config.beam.processes != "auto":
        return config.beam.processes
    if config.cloud or config.records is None:  # Beam on other machines; bulk inference
        return 1
    photos = sum(sum(labels.values()) for labels in config.records.counts.values())
    processes = min(pool.cores(), _MAX_PROCESSES)
    saved = photos * _IMAGE_S * (1 - 1 / processes)
    return processes if saved > _MARGIN * _START_S else 1


def trainer(config: Config) -> type:
    """The Trainer component: TFX's own, or the one that starts a Vertex AI custom job."""
    from tfx import v1 as tfx

    if config.cloud is None or config.cloud.training is None:
        return tfx.components.Trainer
    return tfx.extensions.google_cloud_ai_platform.Trainer


def name_jobs(config: Config, pipeline: tfx.dsl.Pipeline) -> tfx.dsl.Pipeline:
    """Makes components that start jobs on Google Cloud name them after the run.

    Args:
        config: the config of the pipeline.
        pipeline: the pipeline; its components are changed in place.

    Returns:
        The pipeline.
    """
    cloud = config.cloud
    if cloud is None:
        return pipeline
    remote = [
        *(dataflow.COMPONENTS if cloud.dataflow else ()),
        *(["Trainer"] if cloud.training else ()),
    ]
    for component in pipeline.components:
        if component.id in remote:
            from pipeline.components import google_executors

            component.executor_spec.executor_class = getattr(google_executors, component.id)
    return pipeline


def training_job(config: Config) -> dict[str, Any]:
    """Entries of `custom_config` that TFX's Vertex AI Trainer needs; {} for any other Trainer."""
    cloud = config.cloud
    if cloud is None or cloud.training is None:
        return {}
    training, image = cloud.training, cloud.training_image or cloud.image
    # The keys are constants of tfx.extensions.google_cloud_ai_platform, whose import takes seconds.
    return {
        "gpus": {kind: pool.accelerator_count for kind, pool in training.pools.items()},
        "ai_platform_enable_vertex": True,
        "ai_platform_vertex_region": cloud.region,
        "ai_platform_training_args": {
            "project": cloud.project,
            "display_name": f"{config.name}-training",
            "labels": resources.labels(config),
            "job_spec": {
                "worker_pool_specs": [
                    _pool_spec(pool, image, training.disk_gb) for pool in training.pools.values()
                ],
                "scheduling": {"timeout": {"seconds": resources.seconds(training.timeout_h)}},
                "service_account": cloud.service_account,
            }
            | ({"network": cloud.network} if cloud.network else {}),
        },
    }


def with_labels(config: Config) -> Config:
    """Adds the labels of the pipeline to the models and endpoints that a push creates."""
    push = config.push
    if push.target == "folder":
        return config
    target = getattr(push, push.target)
    labelled = target.model_copy(update={"labels": resources.labels(config) | target.labels})
    return config.model_copy(update={"push": push.model_copy(update={push.target: labelled})})


def _pool_spec(pool: PoolConfig, image: str, disk_gb: int) -> dict[str, Any]:
    """Returns a WorkerPoolSpec without the command, which TFX fills in."""
    machine: dict[str, Any] = {"machine_type": pool.machine_type}
    if pool.accelerator_type:
        machine["accelerator_type"] = pool.accelerator_type
        machine["accelerator_count"] = pool.accelerator_count
    return {
        "machine_spec": machine,
        "replica_count": pool.replicas,
        "disk_spec": {"boot_disk_type": "pd-ssd", "boot_disk_size_gb": disk_gb},
        "container_spec": {
            "image_uri": image,
            "env": [{"name": "TF_USE_LEGACY_KERAS", "value": "1"}],
        },
    }


def _home(config: Config) -> str:
    if config.cloud is None:
        return str(Path(config.root))
    return resources.home(config)
