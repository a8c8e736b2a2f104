"""Every setting of the pipeline, documented where it is defined.

Nothing here is secret: keys and passwords come from the environment only.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from models import registry
from models.options import TrainerOptions, WandbOptions
from pipeline.config.cloud import CloudConfig
from pipeline.config.gate import GateConfig, ServingConfig
from pipeline.config.lineage import LineageConfig
from pipeline.config.push import PushConfig
from pipeline.config.section import Fraction, Section


class DataConfig(Section):
    """How photos become records."""

    encoding: Literal["jpeg", "raw"] = "jpeg"
    """Pixels in a record: `jpeg` (encoded bytes) or `raw` (TFRecorder's base64 of raw pixels)."""
    split: tuple[Fraction, Fraction, Fraction] = (0.8, 0.1, 0.1)
    """Shares of train, validation and test where the folders do not name the splits; sum 1."""
    conflicts: Literal["error", "drop"] = "error"
    """The same photo under two labels: stop, or drop all its copies."""
    label_column: str = Field("label", min_length=1)
    """The column of an Image CSV whose labels the model learns."""
    max_bad_fraction: Fraction = 0.05
    """Share of files that may be unreadable (they are skipped and listed) before the run stops."""

    @model_validator(mode="after")
    def _split_sums_to_one(self):
        if abs(sum(self.split) - 1) > 1e-6 or self.split[0] == 0 or self.split[1] == 0:
            raise ValueError(
                f"split must sum to 1 with train and validation above 0, received {self.split}"
            )
        return self


class ModelConfig(Section):
    """Which network is trained."""

    name: str = "efficientnet_lite0"
    """A file in `models/architectures/`: `efficientnet_lite0`, `pretrained`, `pawnet`,
    `article_cnn`, or one of your own."""
    image_size: int = Field(None, ge=32, le=1024, validate_default=True)
    """Height and width in pixels to which every image is resized. None: the architecture's own."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the architecture's `build`."""

    @field_validator("name")
    @classmethod
    def _is_registered(cls, name: str) -> str:
        if name not in registry.names():
            raise ValueError(f"unknown model; known: {', '.join(registry.names())}")
        return name

    @field_validator("image_size", mode="before")
    @classmethod
    def _is_the_architectures_own(cls, size: int | None, info: ValidationInfo) -> int | None:
        if size is None and "name" in info.data:  # Else the name has an error of its own.
            return registry.find(info.data["name"]).IMAGE_SIZE
        return size


class BeamConfig(Section):
    """Apache Beam, which does the data work of the components."""

    pipeline_args: tuple[str, ...] = ("--runner=FnApiRunner",)
    """Beam's own flags. The default works on this machine and fetches nothing."""
    processes: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Processes that Beam works in with the runner FnApiRunner. One is this process itself. `auto`
    chooses by the number of photos and cores: `pipeline.placement.beam_processes`."""


class RecordsConfig(Section):
    """The TFRecords of a run. Filled in by the runner from the photos; not set by hand."""

    path: str
    """Folder that holds the shards."""
    labels: tuple[str, ...] = Field(min_length=2)
    """Label names; a record's `label` is an index into them."""
    patterns: dict[str, str]
    """File pattern of each split's shards, relative to `path`: {split: pattern}."""
    counts: dict[str, dict[str, int]]
    """Records by split and label: {split: {label: n}}."""
    features: tuple[str, ...]
    """Names of the features in the records."""
    digest: str | None = None
    """Sha256 (hex) over names and contents of the shards; goes into the model card."""

    @property
    def held_out(self) -> str:
        """The split on which models are judged: `test` where there is one, else `validation`."""
        return "test" if "test" in self.patterns else "validation"


class Config(Section):
    """All settings of one pipeline."""

    name: str = Field("pawprint", pattern=r"^[a-z0-9][a-z0-9-]{0,127}$")
    """Pipeline name in ML Metadata (Vertex AI's rule: lower case, digits, dashes)."""
    root: str = "runs"
    """Folder for metadata, pipeline artifacts, run folders and pushed models."""
    enable_cache: bool = True
    """Reuse the outputs of a component whose inputs and settings are unchanged."""
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    trainer: TrainerOptions = TrainerOptions()
    """Documented at `models.options.TrainerOptions`."""
    gate: GateConfig
    serving: ServingConfig = ServingConfig()
    push: PushConfig = PushConfig()
    wandb: WandbOptions = WandbOptions()
    """Documented at `models.options.WandbOptions`; the key is WANDB_API_KEY in the environment."""
    lineage: LineageConfig = LineageConfig()
    """Documented at `pipeline.config.lineage.LineageConfig`."""
    beam: BeamConfig = BeamConfig()
    cloud: CloudConfig | None = None
    """Documented at `pipeline.config.cloud.CloudConfig`; `runner_dataflow.py` alone reads it."""
    records: RecordsConfig | None = None
