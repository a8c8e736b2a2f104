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
WANDB_MODES = ("disabled", "offline", "online")


@dataclasses.dataclass(frozen=True)
class TrainerOptions:
    """How to train. None stands for the chosen architecture's own default."""

    epochs: int | None = None
    """Passes over the training photos."""
    batch_size: int = 16
    """Photos a step and replica (one replica a GPU, one a worker without GPUs)."""
    learning_rate: float | None = None
    """Peak learning rate for one replica."""
    schedule: str | None = None
    """`constant`, or `cosine`: a linear warm-up over the first 5 % of steps, then down to zero."""
    lr_scaling: str = "none"
    """Growth of the learning rate with the number of replicas: `none`, `linear` or `sqrt`."""
    label_smoothing: float | None = None
    """Share of the target probability spread evenly over all classes, 0 up to 1."""
    class_weights: str | Mapping[str, float] | None = None
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
        for name in ("epochs", "steps_per_epoch"):
            _require(getattr(self, name) is None or getattr(self, name) >= 1, self, name, ">= 1")
        for name in ("batch_size", "steps_per_execution", "cluster_timeout"):
            _require(getattr(self, name) >= 1, self, name, ">= 1")
        seed = self.seed is None or 0 <= self.seed < 2**32
        _require(seed, self, "seed", "null, or 0 up to 2**32 - 1")
        rate, smoothing = self.learning_rate, self.label_smoothing
        _require(rate is None or rate > 0, self, "learning_rate", "> 0")
        _require(smoothing is None or 0 <= smoothing < 1, self, "label_smoothing", "in [0, 1)")
        _require(self.early_stopping >= 0, self, "early_stopping", ">= 0")
        _one_of(self, "schedule", (None, *SCHEDULES))
        _one_of(self, "lr_scaling", LR_SCALINGS)
        _one_of(self, "cache", CACHES)
        _one_of(self, "collective", COLLECTIVES)
        if isinstance(self.class_weights, str):
            _one_of(self, "class_weights", ("balanced",))


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """Which architecture to train; every further field is an argument of its `build`."""

    name: str = "pawnet"
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
    image_size: int = 150
    trainer: TrainerOptions = dataclasses.field(default_factory=TrainerOptions)
    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    wandb: WandbOptions = dataclasses.field(default_factory=WandbOptions)
    store: str = ""
    """Identity of the metadata store; part of the W&B run's id, see `models.run_id`."""
    checkpoint_dir: str | None = None
    """Where to resume from, the same for a re-run; None takes a folder beside model_run_dir."""
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    """Number of examples by `train` and `eval`; missing ones are counted by reading."""
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
    if "labels" not in config:
        raise ValueError(
            "custom_config lacks 'labels', the class names in the order of their indices. "
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
