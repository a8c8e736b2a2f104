"""Settings of the Pusher and its targets."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from pipeline.config.cloud import LabelKey, LabelValue, Project, Region, ServiceAccount
from pipeline.config.section import Section

TARGETS = ("folder", "ai_platform", "vertex")
CloudFolder = Annotated[
    str, StringConstraints(pattern=r"^gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[^/\s]+)*$")
]


class CloudTarget(Section):
    """Settings that both prediction services of Google Cloud need."""

    project: Project
    """Project id."""
    region: Region
    """Region of the service, e.g. `us-central1`."""
    models_at: CloudFolder
    """`gs://bucket/folder` that models are uploaded to and that the service reads them from."""
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=50)
    """Labels of created resources; existing resources keep theirs."""
    timeout_s: float = Field(1800, gt=0)
    """Seconds after which a push, promotion or rollback stops; the same command resumes it."""
    api_endpoint: str | None = Field(None, pattern=r"^https?://[^/]+$")
    """URL of the service, e.g. of Private Service Connect. None: that of the region."""


class AiPlatformConfig(CloudTarget):
    """AI Platform Prediction: the `ml` v1 API, as `gcloud ai-platform versions create` calls it."""

    model: str = Field("pawprint", pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,127}$")
    """Name of the model; created if it does not exist."""
    runtime_version: Literal["2.11", "2.10", "2.9", "2.8", "2.7", "2.6", "2.5"] = "2.11"
    """TensorFlow version of the service; 2.11 is its newest."""
    python_version: Literal["3.7"] = "3.7"
    """Python version of the service; the only one with these runtimes."""
    framework: Literal["TENSORFLOW"] = "TENSORFLOW"
    """Framework of the models."""
    machine_type: str = Field("n1-standard-2", pattern=r"^n1-(standard|highmem|highcpu)-\d+$")
    """Machine type of a node; regional endpoints offer n1 machines only."""
    min_nodes: int = Field(1, ge=0, le=100)
    """Minimum number of nodes; billed without requests too."""
    set_default: bool = True
    """Whether a pushed version serves immediately. False: it serves after `promote`."""


class VertexConfig(CloudTarget):
    """Vertex AI Prediction: one registered model with versions, deployed to one endpoint."""

    model: str = Field("pawprint", pattern=r"^[a-z][a-z0-9-]{0,61}[a-z0-9]$")
    """Id of the registered model; created if it does not exist."""
    endpoint: str | None = Field(
        None, pattern=r"^(projects/[^/]+/locations/[^/]+/endpoints/)?[a-z0-9-]{1,63}$"
    )
    """Id or resource name of the endpoint. None: the endpoint whose label `pawprint_model` names
    this model; created if it does not exist."""
    container: str = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
    """Image of the prediction container: Google's, or any other that serves a SavedModel."""
    predict_route: str | None = Field(None, pattern=r"^/")
    """HTTP path of predictions in a custom container. None: the default of the service."""
    health_route: str | None = Field(None, pattern=r"^/")
    """HTTP path of health checks in a custom container. None: the default of the service."""
    machine_type: str = "n1-standard-2"
    """Machine type of a replica."""
    min_replicas: int = Field(1, ge=1, le=1000)
    """Minimum number of replicas; billed without requests too."""
    max_replicas: int = Field(1, ge=1, le=1000)
    """Maximum number of replicas of a version."""
    canary_percent: int = Field(100, ge=1, le=100)
    """Percentage of the traffic that a new version gets until `promote`; 100 sends it all traffic
    immediately. Pushing the waiting model again changes its percentage."""
    keep_deployed: bool = False
    """Whether the previous version stays deployed, so that a rollback takes seconds; its machines
    are billed."""
    service_account: ServiceAccount | None = None
    """Service account of the container. None: the default of the service."""
    kms_key: str | None = Field(
        None, pattern=r"^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$"
    )
    """Customer-managed encryption key of the model and the endpoint, in the same region. Changing
    it makes a new version; an endpoint keeps the key that it was created with."""

    @model_validator(mode="after")
    def _check(self) -> "VertexConfig":
        if self.max_replicas < self.min_replicas:
            raise ValueError(
                f"max_replicas {self.max_replicas} is below min_replicas {self.min_replicas}"
            )
        if self.kms_key and f"/locations/{self.region}/" not in self.kms_key:
            raise ValueError(
                f"kms_key must be in the region {self.region}. Received: {self.kms_key}"
            )
        return self


class PushConfig(Section):
    """The target that blessed models are pushed to."""

    target: Literal["folder", "ai_platform", "vertex"] = "folder"
    """`folder`: ROOT/serving, in the layout of TensorFlow Serving; or a service of Google Cloud."""
    keep_last: int = Field(5, ge=1)
    """Number of pushed versions to keep at the target; older ones are deleted. The served version
    is always kept; rolled-back versions are not counted."""
    ai_platform: AiPlatformConfig | None = None
    """Settings of the target `ai_platform`."""
    vertex: VertexConfig | None = None
    """Settings of the target `vertex`."""

    @model_validator(mode="after")
    def _check_target(self) -> "PushConfig":
        if self.target != "folder" and getattr(self, self.target) is None:
            raise ValueError(
                f"target {self.target} needs push.{self.target} with at least project, region and "
                "models_at"
            )
        return self
