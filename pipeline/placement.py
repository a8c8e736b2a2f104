"""Where `create_pipeline` puts each thing: on this machine, or on Google Cloud where set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from data.conversion import pool
from pipeline.cloud import dataflow, resources
from pipeline.config.cloud import CloudConfig, PoolConfig

if TYPE_CHECKING:
    from pipeline.config.schema import Config

_LOCAL_RUNNER = "--runner=FnApiRunner"
_PACKAGES = ("--sdk_container_image", "--setup_file", "--extra_package", "--requirements_file")
_START_S = 45
_PHOTO_S = 0.0054
_MARGIN = 2
_MOST_PROCESSES = 8  # each takes 1 GiB of memory and more


def artifacts(config: Config) -> str:
    """Where the components write their artifacts."""
    return _absolute(config, "pipeline")


def serving(config: Config) -> str:
    """Where a push into a folder of versions goes."""
    return f"{_home(config)}/serving"


def records(config: Config) -> str:
    """Where photos become records."""
    return f"{_home(config)}/records"


def features(config: Config) -> str:
    """Where trainings keep the features of images."""
    return _absolute(config, "features")


def _absolute(config: Config, name: str) -> str:
    """A folder of the home; a local one by its absolute path.

    ML Metadata and the Trainer's settings keep it: one folder has one name from every working
    directory.
    """
    folder = f"{_home(config)}/{name}"
    return folder if "://" in folder else str(Path(folder).resolve())


def preset(config: Config) -> str:
    """How far a pretrained network is trained: as set, or by the accelerators that train it."""
    cloud = config.cloud
    if config.trainer.preset:
        return config.trainer.preset
    if cloud and cloud.training:
        return "best" if cloud.training.chief.accelerator_count else "fast"
    from models import phases  # TensorFlow tells what this machine has.

    return phases.preset(config.trainer)


def beam_arguments(config: Config) -> list[str]:
    """Beam's flags for the components."""
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
        # Without an image TFX packages itself for every component, 49 MB in the folder of temporary
        # files that stay there. Local processes have the code and ignore the image.
        flags.append("--sdk_container_image=none")
    chosen = any(flag.startswith("--direct_") for flag in flags)
    if not chosen and (processes := beam_processes(config)) > 1:
        flags += ["--direct_running_mode=multi_processing", f"--direct_num_workers={processes}"]
    return flags


def beam_processes(config: Config) -> int:
    """Processes for Beam on this machine: as set, or by the number of photos and cores.

    Every component starts its processes anew, each of which imports TFX: `_START_S` for all
    components. In return the work on a photo, `_PHOTO_S`, is divided by their number. More than one
    is chosen only where that saves `_MARGIN` times what it costs: 33,000 photos on 2 cores, 22,000
    on 4, 19,000 on 8. Both figures are from 2 cores (`python -m benchmarks.beam_processes`), where
    20,000 photos gain nothing; what more cores gain is computed and not measured.
    """
    if config.beam.processes != "auto":
        return config.beam.processes
    if config.cloud or config.records is None:  # other machines' cores; unlabelled photos
        return 1
    photos = sum(sum(labels.values()) for labels in config.records.counts.values())
    processes = min(pool.cores(), _MOST_PROCESSES)
    saved = photos * _PHOTO_S * (1 - 1 / processes)
    return processes if saved > _MARGIN * _START_S else 1


def trainer(config: Config) -> type:
    """The Trainer component: TFX's own, or the one that has a Vertex AI custom job do it."""
    from tfx import v1 as tfx

    if config.cloud is None or config.cloud.training is None:
        return tfx.components.Trainer
    return tfx.extensions.google_cloud_ai_platform.Trainer


def name_jobs(config: Config, pipeline):
    """The pipeline; those of its components that start jobs elsewhere name these after the run."""
    cloud = config.cloud
    if cloud is None:
        return pipeline
    away = [
        *(dataflow.COMPONENTS if cloud.dataflow else ()),
        *(["Trainer"] if cloud.training else ()),
    ]
    for component in pipeline.components:
        if component.id in away:
            from pipeline.components import google_executors

            component.executor_spec.executor_class = getattr(google_executors, component.id)
    return pipeline


def training_job(config: Config) -> dict:
    """What TFX's Vertex Trainer needs in `custom_config`; nothing where training is done here."""
    cloud = config.cloud
    if cloud is None or cloud.training is None:
        return {}
    # The keys are constants of tfx.extensions.google_cloud_ai_platform, whose import takes seconds.
    return {
        "gpus": {kind: pool.accelerator_count for kind, pool in cloud.training.pools.items()},
        "ai_platform_enable_vertex": True,
        "ai_platform_vertex_region": cloud.region,
        "ai_platform_training_args": {
            "project": cloud.project,
            "display_name": f"{config.name}-training",
            "labels": resources.labels(config),
            "job_spec": {
                "worker_pool_specs": [
                    _pool_spec(pool, cloud) for pool in cloud.training.pools.values()
                ],
                "scheduling": {"timeout": {"seconds": resources.seconds(cloud.training.timeout_h)}},
                "service_account": cloud.service_account,
            }
            | ({"network": cloud.network} if cloud.network else {}),
        },
    }


def with_labels(config: Config) -> Config:
    """The config whose pushes make models and endpoints with the labels of everything else."""
    push = config.push
    if push.target == "folder":
        return config
    target = getattr(push, push.target)
    labelled = target.model_copy(update={"labels": resources.labels(config) | target.labels})
    return config.model_copy(update={"push": push.model_copy(update={push.target: labelled})})


def _pool_spec(pool: PoolConfig, cloud: CloudConfig) -> dict:
    """A WorkerPoolSpec; TFX fills in the command."""
    machine: dict = {"machine_type": pool.machine_type}
    if pool.accelerator_type:
        machine["accelerator_type"] = pool.accelerator_type
        machine["accelerator_count"] = pool.accelerator_count
    return {
        "machine_spec": machine,
        "replica_count": pool.replicas,
        "disk_spec": {"boot_disk_type": "pd-ssd", "boot_disk_size_gb": cloud.training.disk_gb},
        "container_spec": {
            "image_uri": cloud.training_image or cloud.image,
            "env": [{"name": "TF_USE_LEGACY_KERAS", "value": "1"}],
        },
    }


def _home(config: Config) -> str:
    if config.cloud is None:
        return str(Path(config.root))
    return resources.home(config)
