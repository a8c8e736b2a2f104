"""Settings of Google Cloud. Names are checked here; what fits together, in `preflight`."""

from typing import Annotated

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
    """Dataflow, which does the Beam work of the components and the conversion of the photos."""

    machine_type: str = "n1-standard-4"
    """Machine of one worker; a whole batch of photos has to fit into its memory."""
    max_workers: int = Field(4, ge=1, le=1000)
    """Workers that a job may grow to."""
    disk_gb: int = Field(50, ge=30, le=2000)
    """Disk of one worker."""
    timeout_h: float = Field(2, ge=0.1, le=24)
    """Hours after which Dataflow cancels a job."""
    endpoint: str | None = None
    """Dataflow's API where it is not `https://dataflow.googleapis.com`."""


class PoolConfig(Section):
    """Machines of one kind in the training cluster: a `preset`, or the machine spelt out."""

    preset: str | None = None
    """One of the presets in `pipeline/config/catalog.yaml`, e.g. `T4_4X`."""
    machine_type: str | None = None
    """E.g. `n1-standard-16`."""
    accelerator_type: str | None = None
    """E.g. `NVIDIA_TESLA_T4`; None trains on the CPU."""
    accelerator_count: int = Field(0, ge=0, le=16)
    """Accelerators of one machine."""
    replicas: int = Field(1, ge=1, le=64)
    """Machines; the chief is always one."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_preset(cls, given):
        if not isinstance(given, dict) or not given.get("preset"):
            return given
        presets = catalog().presets
        if given["preset"] not in presets:
            raise ValueError(f"unknown preset; known: {', '.join(presets)}")
        named = presets[given["preset"]]
        if differing := [k for k, v in named.items() if given.get(k) not in (None, 0, v)]:
            raise ValueError(
                f"preset {given['preset']} already sets {', '.join(differing)}; to spell the "
                "machine out, set preset to null"
            )
        return {**given, **named}

    @model_validator(mode="after")
    def _names_a_machine(self):
        if self.machine_type is None:
            raise ValueError("set preset or machine_type")
        if bool(self.accelerator_type) != bool(self.accelerator_count):
            raise ValueError("accelerator_type and accelerator_count go together")
        return self


class TrainingConfig(Section):
    """The Vertex AI custom job that trains: a chief, and workers beside it."""

    chief: PoolConfig = PoolConfig(preset="T4_1X")
    """The machine that leads and exports the model."""
    worker: PoolConfig | None = None
    """Further machines; with them the training is one MultiWorkerMirroredStrategy."""
    disk_gb: int = Field(100, ge=100, le=64000)
    """Boot disk of each machine."""
    timeout_h: float = Field(4, ge=0.1, le=168)
    """Hours after which Vertex AI stops the job."""

    @model_validator(mode="after")
    def _has_one_chief(self):
        if self.chief.replicas != 1:
            raise ValueError(f"there is one chief, received chief.replicas={self.chief.replicas}")
        return self

    @property
    def pools(self) -> dict[str, PoolConfig]:
        """The worker pools in Vertex AI's order."""
        return {"chief": self.chief} | ({"worker": self.worker} if self.worker else {})


class CloudConfig(Section):
    """Where on Google Cloud the pipeline runs. With it set, `create_pipeline` places it there."""

    project: Project
    """Project id."""
    region: Region
    """Region of everything, e.g. `us-central1`."""
    bucket: Bucket
    """Bucket (without `gs://`) for records, artifacts and temporary files, in that region."""
    service_account: ServiceAccount
    """Who the pipeline's tasks, Dataflow's workers and the training run as."""
    image: str
    """Docker image of the tasks and of Dataflow's workers, with a tag or digest; `make images`."""
    training_image: str | None = None
    """Docker image of the training machines, with GPU libraries; None takes `image`."""
    network: Network | None = None
    """VPC network that training is peered with: `projects/<number>/global/networks/<name>`."""
    subnetwork: Subnetwork | None = None
    """Subnetwork of Dataflow's workers: `regions/<region>/subnetworks/<name>`; they then have no
    public addresses."""
    endpoint: str | None = None
    """API of Vertex AI where it is not `<region>-aiplatform.googleapis.com`, as with Private
    Service Connect; one that begins with `http` is spoken to by REST."""
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=50)
    """Labels on everything that is made, e.g. to find it on the bill; `run` is taken."""
    dataflow: DataflowConfig | None = DataflowConfig()
    """None: Beam works inside each task, with `beam.pipeline_args`."""
    training: TrainingConfig | None = TrainingConfig()
    """None: training is done inside the Trainer's task, without accelerators."""

    @field_validator("labels")
    @classmethod
    def _leaves_the_run_alone(cls, labels: dict[str, str]) -> dict[str, str]:
        if "run" in labels:
            raise ValueError("the label run is set on each job, to the id of its run")
        return labels

    @property
    def address(self) -> str:
        """The bucket's `gs://` address."""
        return f"gs://{self.bucket}"
