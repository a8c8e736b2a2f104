"""What can be set about a training: the fields of `custom_config`, checked before work starts."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

SCHEDULES = ("constant", "cosine")
CACHES = ("auto", "memory", "file", "none")
COLLECTIVES = ("auto", "ring", "nccl")
LR_SCALINGS = ("none", "linear", "sqrt")
PRESETS = ("fast", "balanced", "best")
WANDB_MODES = ("disabled", "offline", "online")
_REQUIRED = {
    "labels": "the class names in the order of their indices",
    "image_size": "the side of the images in pixels",
}


@dataclasses.dataclass(frozen=True)
class TrainerOptions:
    """How to train. None stands for the chosen architecture's own default."""

    preset: str | None = None
    """How far a pretrained network is trained: `fast` (its new head only), `balanced` (then its
    upper blocks, for as many epochs as fit into `fine_tuning_seconds`) or `best` (then its upper
    blocks, to the end). None: `fast` on CPUs, `best` on GPUs. Networks without pretrained weights
    have no presets."""
    epochs: int | None = None
    """Passes over the training photos; of a pretrained network, those of its head."""
    batch_size: int | None = None
    """Photos a step and replica (one replica a GPU, one a worker without GPUs)."""
    learning_rate: float | None = None
    """Peak learning rate for one replica; of a pretrained network, that of its head."""
    fine_tuning_epochs: int | None = None
    """Passes over the training photos in which the upper blocks learn too, whatever the preset."""
    fine_tuning_learning_rate: float | None = None
    """Peak learning rate of these passes, for one replica."""
    fine_tuning_seconds: int = 300
    """Seconds that the preset `balanced` may spend on them."""
    mirrored_features: bool = False
    """Whether the head of a pretrained network also learns from each photo's mirror image."""
    features_limit_mb: int = 1024
    """Size in MiB to which kept features of photos may grow; the oldest ones are removed."""
    schedule: str | None = None
    """`constant`, or `cosine`: a linear warm-up over the first 5 % of steps, then down to zero."""
    lr_scaling: str = "none"
    """Growth of the learning rate with the number of replicas: `none`, `linear` or `sqrt`."""
    label_smoothing: float | None = None
    """Share of the target probability spread evenly over all classes, 0 up to 1."""
    class_weights: str | Mapping[str, float] | None = "balanced"
    """`balanced` (inverse class frequency), or a weight by label name; None weighs all alike."""
    early_stopping: int = 0
    """Epochs without a better validation loss after which training ends; 0 never."""
    steps_per_epoch: int | None = None
    """Steps an epoch; None takes every training photo once."""
    steps_per_execution: int = 10
    """Steps in one call of the compiled function, between which no Python runs."""
    seed: int | None = 0
    """Seed of weights, order and augmentation; None draws a new one each time."""
    cache: str = "auto"
    """Where decompressed examples are kept between epochs: `memory`, `file`, `none` or `auto`."""
    collective: str = "auto"
    """How workers exchange gradients: `auto` (NCCL between GPUs, else ring), `ring`, `nccl`."""
    mixed_precision: bool = False
    """Compute in float16 with float32 weights; GPUs only."""
    xla: bool = False
    """Compile the training step with XLA; GPUs only."""
    memory_growth: bool = True
    """Take GPU memory as needed rather than all at once."""
    cluster_timeout: int = 300
    """Seconds to wait for all workers to appear before giving up."""

    def __post_init__(self):
        for name in ("epochs", "steps_per_epoch", "batch_size"):
            _require(getattr(self, name) is None or getattr(self, name) >= 1, self, name, ">= 1")
        for name in ("steps_per_execution", "cluster_timeout", "fine_tuning_seconds"):
            _require(getattr(self, name) >= 1, self, name, ">= 1")
        for name in ("fine_tuning_epochs", "features_limit_mb"):
            _require((getattr(self, name) or 0) >= 0, self, name, ">= 0")
        seed = self.seed is None or 0 <= self.seed < 2**32
        _require(seed, self, "seed", "null, or 0 up to 2**32 - 1")
        for name in ("learning_rate", "fine_tuning_learning_rate"):
            rate = getattr(self, name)
            _require(rate is None or rate > 0, self, name, "> 0")
        smoothing = self.label_smoothing
        _require(smoothing is None or 0 <= smoothing < 1, self, "label_smoothing", "in [0, 1)")
        _require(self.early_stopping >= 0, self, "early_stopping", ">= 0")
        _one_of(self, "preset", (None, *PRESETS))
        _one_of(self, "schedule", (None, *SCHEDULES))
        _one_of(self, "lr_scaling", LR_SCALINGS)
        _one_of(self, "cache", CACHES)
        _one_of(self, "collective", COLLECTIVES)
        if isinstance(self.class_weights, str):
            _one_of(self, "class_weights", ("balanced",))


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """Which architecture to train; every further field is an argument of its `build`."""

    name: str = "efficientnet_lite0"
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> ModelOptions:
        """Splits `{"name": ..., **arguments}`."""
        arguments = {key: value for key, value in fields.items() if key != "name"}
        return cls(name=fields.get("name", cls.name), arguments=arguments)


@dataclasses.dataclass(frozen=True)
class WandbOptions:
    """How a training is logged to Weights & Biases."""

    mode: str = "disabled"
    """`disabled`, `offline` (kept on disk, no account needed) or `online`."""
    project: str = "pawprint"
    """Project that the run belongs to."""
    entity: str | None = None
    """Team or user; None takes the account's default."""
    images_every: int = 5
    """Log a sample of predictions as images each so many epochs; 0 never."""
    upload_timeout: int = 120
    """Seconds after which an upload is given up; it runs beside the rest of the pipeline."""

    def __post_init__(self):
        _one_of(self, "mode", WANDB_MODES)
        _require(self.images_every >= 0, self, "images_every", ">= 0")
        _require(self.upload_timeout >= 1, self, "upload_timeout", ">= 1")


@dataclasses.dataclass(frozen=True)
class Options:
    """All of `custom_config`, as the trainer reads it."""

    labels: tuple[str, ...]
    image_size: int
    """Side in pixels of the images in the transformed examples."""
    trainer: TrainerOptions = dataclasses.field(default_factory=TrainerOptions)
    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    wandb: WandbOptions = dataclasses.field(default_factory=WandbOptions)
    store: str = ""
    """Identity of the metadata store; part of the W&B run's id, see `models.tracking.run_id`."""
    checkpoint_dir: str | None = None
    """Where to resume from, the same for a re-run; None takes a folder beside model_run_dir."""
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Number of examples by `train` and `eval`; missing ones are counted by reading."""
    label_counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Number of training examples by label; an empty one is counted by reading."""
    features_dir: str | None = None
    """Folder that keeps features of photos for later trainings; None keeps none."""
    gpus: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """GPUs that each machine was ordered with, by `chief` and `worker`; a training that was given
    some and sees none is an error."""
    code: str = ""
    """Digest of the code that trains: checkpoints of other code are not gone on with."""
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Free facts for the model card: config digest, data digest, git commit."""

    def __post_init__(self):
        _require(len(self.labels) >= 2, self, "labels", "at least two class names")
        _require(len(set(self.labels)) == len(self.labels), self, "labels", "distinct names")
        _require(self.image_size >= 8, self, "image_size", ">= 8 pixels")


def parse(custom_config: Mapping[str, Any] | None) -> Options:
    """Reads TFX's `custom_config`; fields of other consumers at its top level are ignored.

    Raises:
        ValueError: a missing, unknown (below the top level) or invalid field.
    """
    config = dict(custom_config or {})
    for name, meaning in _REQUIRED.items():
        if name not in config:
            raise ValueError(
                f"custom_config lacks '{name}', {meaning}. "
                f"Received the fields: {sorted(config) or 'none'}."
            )
    known = {field.name for field in dataclasses.fields(Options)}
    config = {key: value for key, value in config.items() if key in known and value is not None}
    config["labels"] = tuple(config["labels"])
    config["trainer"] = _build(TrainerOptions, "trainer", config.get("trainer", {}))
    config["wandb"] = _build(WandbOptions, "wandb", config.get("wandb", {}))
    config["model"] = ModelOptions.of(config.get("model", {}))
    return Options(**config)


def _build(kind: type, where: str, fields: Mapping[str, Any]):
    known = [field.name for field in dataclasses.fields(kind)]
    for name in fields:
        if name not in known:
            raise unknown(f"field '{where}.{name}'", name, known)
    return kind(**fields)


def unknown(what: str, name: str, known: Sequence[str]) -> ValueError:
    """The error for a name that is not among the known ones, with the nearest of them."""
    nearest = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    return ValueError(f"Unknown {what}.{hint} Known: {', '.join(known)}.")


def _one_of(options: Any, name: str, allowed: tuple) -> None:
    names = ", ".join("null" if value is None else repr(value) for value in allowed)
    _require(getattr(options, name) in allowed, options, name, f"one of {names}")


def _require(condition: bool, options: Any, name: str, expected: str) -> None:
    if not condition:
        where = type(options).__name__.removesuffix("Options").lower()
        path = f"{where}.{name}" if where else name
        raise ValueError(
            f"Invalid {path}: expected {expected}. Received: {getattr(options, name)!r}."
        )
