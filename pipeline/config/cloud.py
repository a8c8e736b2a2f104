"""Settings of Google Cloud. `pipeline.vertex.preflight` checks their combinations."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from pipeline.config.catalog import catalog
from pipeline.config.section import Section


def _is_a_region(region: str) -> str:
    if region not in catalog().regions:
        raise ValueError(f"not a region of Vertex AI; known: {', '.join(catalog().regions)}")
    return region


Region = Annotated[str, AfterValidator(_is_a_region)]
# https://cloud.google.com/resource-manager/docs/creating-managing-projects
Project = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]$")]
# https://cloud.google.com/storage/docs/buckets#naming, without dots
Bucket = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{1,61}[a-z0-9]$")]
ServiceAccount = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{4,28}[a-z0-9]@[a-z0-9.-]+\.com$")
]
# https://cloud.google.com/compute/docs/labeling-resources
LabelKey = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{0,63}$")]
Network = Annotated[
    str, StringConstraints(pattern=r"^projects/\d+/global/networks/[a-z][a-z0-9-]{0,62}$")
]
Subnetwork = Annotated[
    str, StringConstraints(pattern=r"^regions/[a-z0-9-]+/subnetworks/[a-z][a-z0-9-]{0,62}$")
]


class DataflowConfig(Section):
    """Dataflow, which runs the Beam jobs of the components and converts the photos."""

    machine_type: str = "n1-standard-4"
    """Machine type of a worker; its memory must hold a whole batch of photos."""
    max_workers: int = Field(4, ge=1, le=1000)
    """Maximum number of workers of a job."""
    disk_gb: int = Field(50, ge=30, le=2000)
    """Disk size of a worker in GB."""
    timeout_h: float = Field(2, ge=0.1, le=24)
    """Hours after which Dataflow cancels a job."""
    endpoint: str | None = None
    """URL of the Dataflow API. None: `https://dataflow.googleapis.com`."""


class PoolConfig(Section):
    """One worker pool of the training cluster: a `preset`, or a machine type and accelerators."""

    preset: str | None = None
    """One of the presets in `pipeline/config/catalog.yaml`, e.g. `T4_4X`."""
    machine_type: str = Field(None, validate_default=True)
    """Machine type, e.g. `n1-standard-16`. Set by `preset` if given."""
    accelerator_type: str | None = None
    """Accelerator type, e.g. `NVIDIA_TESLA_T4`. None: train on the CPU."""
    accelerator_count: int = Field(0, ge=0, le=16)
    """Accelerators per machine."""
    replicas: int = Field(1, ge=1, le=64)
    """Number of machines; must be 1 for the chief."""

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if not given.get("preset"):
            if given.get("machine_type") is None:
                raise ValueError("set preset or machine_type")
            return given
        presets = catalog().presets
        if given["preset"] not in presets:
            raise ValueError(f"unknown preset; expected one of: {', '.join(presets)}")
        named = presets[given["preset"]]
        if differing := [k for k, v in named.items() if given.get(k) not in (None, 0, v)]:
            raise ValueError(
                f"preset {given['preset']} already sets {', '.join(differing)}; to choose other "
                "values, set preset to null"
            )
        return {**given, **named}

    @model_validator(mode="after")
    def _check_accelerator(self) -> "PoolConfig":
        if bool(self.accelerator_type) != bool(self.accelerator_count):
            raise ValueError("set both accelerator_type and accelerator_count, or neither")
        return self


class TrainingConfig(Section):
    """The Vertex AI custom job that trains the model: a chief and optional workers."""

    chief: PoolConfig = PoolConfig(preset="T4_1X")
    """Pool of the chief, which also exports the model."""
    worker: PoolConfig | None = None
    """Pool of the workers; chief and workers train under MultiWorkerMirroredStrategy."""
    disk_gb: int = Field(100, ge=100, le=64000)
    """Size of the boot disk of each machine in GB."""
    timeout_h: float = Field(4, ge=0.1, le=168)
    """Hours after which Vertex AI stops the job."""

    @model_validator(mode="after")
    def _check_chief(self) -> "TrainingConfig":
        if self.chief.replicas != 1:
            raise ValueError(f"chief.replicas must be 1. Received: {self.chief.replicas}")
        return self

    @property
    def pools(self) -> dict[str, PoolConfig]:
        """The worker pools by name, in the order that Vertex AI expects."""
        return {"chief": self.chief} | ({"worker": self.worker} if self.worker else {})


class CloudConfig(Section):
    """Where on Google Cloud the pipeline runs. None of this is used by `runner_local.py`."""

    project: Project
    """Project id."""
    region: Region
    """Region of all jobs and of the bucket, e.g. `us-central1`."""
    bucket: Bucket
    """Bucket in that region, without `gs://`: holds records, artifacts and temporary files."""
    service_account: ServiceAccount
    """Service account of the pipeline's tasks, the Dataflow workers and the training job."""
    image: str
    """Docker image of the tasks and the Dataflow workers, with a tag or digest; `make images`
    builds it."""
    training_image: str | None = None
    """Docker image of the training machines, with GPU libraries. None: `image`."""
    network: Network | None = None
    """VPC network of the training job: `projects/<number>/global/networks/<name>`."""
    subnetwork: Subnetwork | None = None
    """Subnetwork of the Dataflow workers: `regions/<region>/subnetworks/<name>`. With it, the
    workers have no public IP addresses."""
    endpoint: str | None = None
    """Endpoint of the Vertex AI API, e.g. of Private Service Connect. An endpoint that begins with
    `http` is called by REST. None: `<region>-aiplatform.googleapis.com`."""
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=50)
    """Labels of all created resources, e.g. for billing reports; the key `run` is reserved."""
    dataflow: DataflowConfig | None = DataflowConfig()
    """None: each task runs Beam itself, with `beam.pipeline_args`."""
    training: TrainingConfig | None = TrainingConfig()
    """None: the Trainer's task trains the model itself, without accelerators."""

    @field_validator("labels")
    @classmethod
    def _check_reserved_label(cls, labels: dict[str, str]) -> dict[str, str]:
        if "run" in labels:
            raise ValueError("the label run is reserved: each job is labelled with its run id")
        return labels

    @property
    def address(self) -> str:
        """URI of the bucket, `gs://BUCKET`."""
        return f"gs://{self.bucket}"
