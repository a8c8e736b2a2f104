"""Where blessed models go."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from pipeline.config.cloud import LabelKey, LabelValue, Project, Region, ServiceAccount
from pipeline.config.section import Section

TARGETS = ("folder", "ai_platform", "vertex")
CloudFolder = Annotated[
    str, StringConstraints(pattern=r"^gs://[a-z0-9][a-z0-9._-]{1,61}[a-z0-9](/[^/\s]+)*$")
]


class CloudTarget(Section):
    """What both of Google's prediction services need."""

    project: Project
    """Project id."""
    region: Region
    """Region of the service and of its machines, e.g. `us-central1`."""
    models_at: CloudFolder
    """`gs://bucket/folder` to which models are uploaded; the service reads them there."""
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=50)
    """Labels on everything that is made; what is there already keeps those it has."""
    timeout_s: float = Field(1800, gt=0)
    """Seconds until a push, promotion or rollback gives up; it can be continued later."""
    api_endpoint: str | None = Field(None, pattern=r"^https?://[^/]+$")
    """Another address of the service, e.g. of Private Service Connect; None: the region's own."""


class AiPlatformConfig(CloudTarget):
    """AI Platform Prediction, the `ml` v1 service; `gcloud ai-platform versions create`."""

    model: str = Field("pawprint", pattern=r"^[a-zA-Z][a-zA-Z0-9_]{0,127}$")
    """Name of the model; it is created when it is missing."""
    runtime_version: Literal["2.11", "2.10", "2.9", "2.8", "2.7", "2.6", "2.5"] = "2.11"
    """The service's TensorFlow; 2.11 is its newest."""
    python_version: Literal["3.7"] = "3.7"
    """The service's Python; it has no other with those runtimes."""
    framework: Literal["TENSORFLOW"] = "TENSORFLOW"
    """What the models are made with."""
    machine_type: str = Field("n1-standard-2", pattern=r"^n1-(standard|highmem|highcpu)-\d+$")
    """Machine of one node; regional endpoints have the n1 machines only."""
    min_nodes: int = Field(1, ge=0, le=100)
    """Nodes that are kept when there are no requests; they are paid for."""
    set_default: bool = True
    """A pushed version answers at once; false: it waits for `promote`."""


class VertexConfig(CloudTarget):
    """Vertex AI Prediction: one registered model with versions, behind one endpoint."""

    model: str = Field("pawprint", pattern=r"^[a-z][a-z0-9-]{0,61}[a-z0-9]$")
    """Id of the registered model; it is created when it is missing."""
    endpoint: str | None = Field(
        None, pattern=r"^(projects/[^/]+/locations/[^/]+/endpoints/)?[a-z0-9-]{1,63}$"
    )
    """Id or resource name of the endpoint. None: the one with the label `pawprint_model` of this
    model, which is created when it is missing."""
    container: str = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
    """Image of the prediction container; Google's own, or any that serves a SavedModel."""
    predict_route: str | None = Field(None, pattern=r"^/")
    """HTTP path of predictions in a container of your own; None: the service's default."""
    health_route: str | None = Field(None, pattern=r"^/")
    """HTTP path of health checks in a container of your own; None: the service's default."""
    machine_type: str = "n1-standard-2"
    """Machine of one replica."""
    min_replicas: int = Field(1, ge=1, le=1000)
    """Replicas that are kept when there are no requests."""
    max_replicas: int = Field(1, ge=1, le=1000)
    """Replicas that a version may grow to."""
    canary_percent: int = Field(100, ge=1, le=100)
    """Share of the requests that a new version answers until `promote`; 100: all, at once. A push
    of the model that waits changes its share."""
    keep_deployed: bool = False
    """Keep the version before on its machines, so that a rollback takes seconds; it is paid for."""
    service_account: ServiceAccount | None = None
    """Who the container runs as; None: the service's default."""
    kms_key: str | None = Field(
        None, pattern=r"^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$"
    )
    """Customer-managed key that encrypts model and endpoint, in the same region. Another one makes
    a new version; an endpoint keeps the key that it was created with."""

    @model_validator(mode="after")
    def _grows(self):
        if self.max_replicas < self.min_replicas:
            raise ValueError(
                f"max_replicas {self.max_replicas} is below min_replicas {self.min_replicas}"
            )
        if self.kms_key and f"/locations/{self.region}/" not in self.kms_key:
            raise ValueError(f"kms_key must be in the region {self.region}: {self.kms_key}")
        return self


class PushConfig(Section):
    """Where blessed models go."""

    target: Literal["folder", "ai_platform", "vertex"] = "folder"
    """`folder`: ROOT/serving, the layout that TensorFlow Serving watches; or one of Google's."""
    keep_last: int = Field(5, ge=1)
    """Pushed versions kept at the target; older ones are removed. The one served always stays, and
    those that were rolled back are not counted."""
    ai_platform: AiPlatformConfig | None = None
    """Needed by the target `ai_platform`."""
    vertex: VertexConfig | None = None
    """Needed by the target `vertex`."""

    @model_validator(mode="after")
    def _has_its_section(self):
        if self.target != "folder" and getattr(self, self.target) is None:
            raise ValueError(
                f"target {self.target} needs push.{self.target}: at least project, region and "
                "models_at"
            )
        return self
