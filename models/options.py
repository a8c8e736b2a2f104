"""The Trainer's settings: the fields of `custom_config`, validated before training starts."""

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
    "image_size": "the height and width of the images in pixels",
}


@dataclasses.dataclass(frozen=True)
class TrainerOptions:
    """How to train. None takes the architecture's own default."""

    preset: str | None = None
    """Phases of a pretrained network: `fast` (the head only), `balanced` (then as many epochs of
    fine-tuning as fit into `fine_tuning_seconds`) or `best` (then all epochs of fine-tuning). None:
    `fast` on CPUs, `best` on GPUs. Ignored without pretrained weights."""
    epochs: int | None = None
    """Passes over the training images; for a pretrained network, passes that train its head."""
    batch_size: int | None = None
    """Images per step and replica (one replica per GPU, or one per worker without GPUs)."""
    learning_rate: float | None = None
    """Peak learning rate for one replica; for a pretrained network, that of its head."""
    fine_tuning_epochs: int | None = None
    """Passes over the training images that also train the upper blocks. Overrides `preset`."""
    fine_tuning_learning_rate: float | None = None
    """Peak learning rate of fine-tuning, for one replica."""
    fine_tuning_seconds: int = 300
    """Time budget of fine-tuning under the preset `balanced`, in seconds."""
    mirrored_features: bool = False
    """Whether the head of a pretrained network also learns from each image mirrored."""
    features_limit_mb: int = 1024
    """Size limit of the feature cache in MiB; beyond it the oldest files are removed."""
    schedule: str | None = None
    """`constant`, or `cosine`: linear warm-up over the first 5 % of the steps, then cosine decay
    to zero."""
    lr_scaling: str = "none"
    """How the learning rate grows with the number of replicas: `none`, `linear` or `sqrt`."""
    label_smoothing: float | None = None
    """Share of the target probability that is spread evenly over all classes, in [0, 1)."""
    class_weights: str | Mapping[str, float] | None = "balanced"
    """`balanced` (inverse class frequency) or a weight per label name. None weighs all classes
    equally."""
    early_stopping: int = 0
    """Number of epochs without a better validation loss after which training ends; 0 disables."""
    steps_per_epoch: int | None = None
    """Steps per epoch; None takes every training image once."""
    steps_per_execution: int = 10
    """Steps per call of the compiled training function."""
    seed: int | None = 0
    """Seed of weights, order and augmentation; None draws a new one for each training."""
    cache: str = "auto"
    """Where decompressed examples are cached between epochs: `memory`, `file`, `none`, `auto`."""
    collective: str = "auto"
    """How workers exchange gradients: `auto` (NCCL between GPUs, else ring), `ring`, `nccl`."""
    mixed_precision: bool = False
    """Compute in float16 with float32 weights; GPUs only."""
    xla: bool = False
    """Compile the training step with XLA; GPUs only."""
    memory_growth: bool = True
    """Allocate GPU memory as needed instead of all at once."""
    cluster_timeout: int = 300
    """Seconds to wait until all processes of the cluster are connected."""

    def __post_init__(self) -> None:
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
    """Which architecture to train, and the arguments of its `build`."""

    name: str = "efficientnet_lite0"
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> ModelOptions:
        """Creates options from `{"name": ..., **arguments}`."""
        arguments = {key: value for key, value in fields.items() if key != "name"}
        return cls(name=fields.get("name", cls.name), arguments=arguments)


@dataclasses.dataclass(frozen=True)
class WandbOptions:
    """How a training is logged to Weights & Biases."""

    mode: str = "disabled"
    """`disabled`, `offline` (writes to disk, needs no account) or `online`."""
    project: str = "pawprint"
    """Project of the run."""
    entity: str | None = None
    """Team or user; None takes the account's default."""
    images_every: int = 5
    """Number of epochs between two samples of predictions logged as images; 0 disables."""
    upload_timeout: int = 120
    """Seconds after which the upload is cancelled. It runs in parallel to the pipeline."""

    def __post_init__(self) -> None:
        _one_of(self, "mode", WANDB_MODES)
        _require(self.images_every >= 0, self, "images_every", ">= 0")
        _require(self.upload_timeout >= 1, self, "upload_timeout", ">= 1")


@dataclasses.dataclass(frozen=True)
class Options:
    """All fields of `custom_config` that the Trainer reads."""

    labels: tuple[str, ...]
    image_size: int
    """Height and width in pixels of the images in the transformed examples."""
    trainer: TrainerOptions = dataclasses.field(default_factory=TrainerOptions)
    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    wandb: WandbOptions = dataclasses.field(default_factory=WandbOptions)
    store: str = ""
    """Identity of the metadata store; part of the W&B run's id, see `models.tracking.run_id`."""
    checkpoint_dir: str | None = None
    """Folder of the checkpoints to resume from; None takes a folder next to `model_run_dir`."""
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Number of examples in `train` and `eval`; a missing count is found by reading the files."""
    label_counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Number of training examples by label; if empty, counted by reading the files."""
    features_dir: str | None = None
    """Folder of the feature cache that trainings share; None disables the cache."""
    gpus: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Number of GPUs requested for each machine, by `chief` and `worker`. Training fails where GPUs
    were requested and TensorFlow sees none."""
    code: str = ""
    """Digest of the training code; checkpoints of other code are ignored."""
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Further fields of the model card: config digest, data digest, git commit."""

    def __post_init__(self) -> None:
        _require(len(self.labels) >= 2, self, "labels", "at least two class names")
        _require(len(set(self.labels)) == len(self.labels), self, "labels", "distinct names")
        _require(self.image_size >= 8, self, "image_size", ">= 8 pixels")


def parse(custom_config: Mapping[str, Any] | None) -> Options:
    """Parses TFX's `custom_config`; ignores unknown fields at its top level.

    Args:
        custom_config: JSON-like mapping with `labels`, `image_size` and any field of `Options`.

    Returns:
        The validated options.

    Raises:
        ValueError: A field is missing, unknown (below the top level) or invalid.

    Example:

    ```python
    from models import options

    config = options.parse({"labels": ["cat", "dog"], "image_size": 224, "trainer": {"epochs": 5}})
    assert config.trainer.epochs == 5
    ```
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
    for section, kind in (("trainer", TrainerOptions), ("wandb", WandbOptions)):
        fields = config.get(section, {})
        allowed = [field.name for field in dataclasses.fields(kind)]
        for name in fields:
            if name not in allowed:
                raise unknown(f"field '{section}.{name}'", name, allowed)
        config[section] = kind(**fields)
    config["model"] = ModelOptions.of(config.get("model", {}))
    return Options(**config)


def unknown(what: str, name: str, known: Sequence[str]) -> ValueError:
    """Returns the error for an unknown name, with the closest known name as a hint."""
    nearest = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    return ValueError(f"Unknown {what}.{hint} Known: {', '.join(known)}.")


def _one_of(options: Any, name: str, allowed: tuple[str | None, ...]) -> None:
    names = ", ".join("null" if value is None else repr(value) for value in allowed)
    _require(getattr(options, name) in allowed, options, name, f"one of {names}")


def _require(condition: bool, options: Any, name: str, expected: str) -> None:
    if not condition:
        where = type(options).__name__.removesuffix("Options").lower()
        path = f"{where}.{name}" if where else name
        raise ValueError(
            f"Invalid {path}: expected {expected}. Received: {getattr(options, name)!r}."
        )
