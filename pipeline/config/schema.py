"""All settings of the pipeline, each with its documentation.

No setting is secret: keys and passwords come from the environment only.
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
    """Conversion of photos to records."""

    encoding: Literal["jpeg", "raw"] = "jpeg"
    """Encoding of the image in a record: `jpeg` (encoded bytes) or `raw` (TFRecorder's base64 of
    the pixels)."""
    split: tuple[Fraction, Fraction, Fraction] = (0.8, 0.1, 0.1)
    """Fractions of train, validation and test if the folders do not name the splits; sum 1."""
    conflicts: Literal["error", "drop"] = "error"
    """What to do if a photo has two labels: `error` stops, `drop` skips all copies of the photo."""
    label_column: str = Field("label", min_length=1)
    """Column of the Image CSV that holds the labels."""
    max_bad_fraction: Fraction = 0.05
    """Maximum fraction of unreadable files, which are skipped and listed; more stop the run."""

    @model_validator(mode="after")
    def _check_split(self) -> "DataConfig":
        if abs(sum(self.split) - 1) > 1e-6 or self.split[0] == 0 or self.split[1] == 0:
            raise ValueError(
                f"split must sum to 1 with train and validation above 0. Received: {self.split}"
            )
        return self


class ModelConfig(Section):
    """The network to train."""

    name: str = "efficientnet_lite0"
    """Name of a file in `models/architectures/`: `efficientnet_lite0`, `pretrained`, `pawnet`,
    `article_cnn` or an added one."""
    image_size: int = Field(None, ge=32, le=1024, validate_default=True)
    """Height and width of the model's images in pixels. None: the default of the architecture."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Additional arguments of the architecture's function `build`."""

    @field_validator("name")
    @classmethod
    def _is_registered(cls, name: str) -> str:
        if name not in registry.names():
            raise ValueError(f"unknown model; expected one of: {', '.join(registry.names())}")
        return name

    @field_validator("image_size", mode="before")
    @classmethod
    def _default_image_size(cls, size: int | None, info: ValidationInfo) -> int | None:
        if size is None and "name" in info.data:  # else the name has its own error
            return registry.find(info.data["name"]).IMAGE_SIZE
        return size


class BeamConfig(Section):
    """Apache Beam, which processes the data of the components."""

    pipeline_args: tuple[str, ...] = ("--runner=FnApiRunner",)
    """Flags of Beam. The default runs on this machine and downloads nothing."""
    processes: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Number of processes of the FnApiRunner; 1 runs Beam in the current process. `auto` depends on
    the number of images and cores: see `pipeline.placement.beam_processes`."""


class RecordsConfig(Section):
    """The TFRecords of a run. Set by the runner, not by the user."""

    path: str
    """Folder that holds the shards."""
    labels: tuple[str, ...] = Field(min_length=2)
    """Label names; the feature `label` of a record is an index into them."""
    patterns: dict[str, str]
    """File pattern of each split's shards, relative to `path`: {split: pattern}."""
    counts: dict[str, dict[str, int]]
    """Number of records by split and label: {split: {label: n}}."""
    features: tuple[str, ...]
    """Names of the features in the records."""
    digest: str | None = None
    """SHA-256 (hex) over the names and contents of the shards; recorded in the model card."""

    @property
    def held_out(self) -> str:
        """The split that models are evaluated on: `test` if it exists, else `validation`."""
        return "test" if "test" in self.patterns else "validation"


class Config(Section):
    """All settings of one pipeline."""

    name: str = Field("pawprint", pattern=r"^[a-z0-9][a-z0-9-]{0,127}$")
    """Pipeline name in ML Metadata: lower-case letters, digits and dashes, as on Vertex AI."""
    root: str = "runs"
    """Folder of ML Metadata, pipeline artifacts, run folders and pushed models."""
    enable_cache: bool = True
    """Whether to reuse the outputs of a component whose inputs and settings are unchanged."""
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
    """Documented at `pipeline.config.cloud.CloudConfig`; used by `runner_dataflow.py` only."""
    records: RecordsConfig | None = None
    """Filled in by `with_records`."""

    def with_records(self, records: RecordsConfig) -> "RunConfig":
        """Returns the config of a run on these records."""
        return RunConfig(**{**dict(self), "records": records})


class RunConfig(Config):
    """All settings of one run; what `create_pipeline` builds a pipeline from."""

    records: RecordsConfig
