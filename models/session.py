"""Runs one training, from examples to exported model, in one process of its cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import tf_keras
from numpy.typing import NDArray

from models import (
    cache,
    checkpoints,
    export,
    extraction,
    features,
    golden_predictions,
    optimization,
    phases,
    progress,
)
from models import input as examples
from models.distributed import devices
from models.distributed.cluster import ClusterTask
from models.options import Options
from models.phases import Phase
from models.progress import EpochRow
from models.registry import TrainingSettings
from models.tracking import wandb_tracker
from models.transfer import Pretrained

if TYPE_CHECKING:
    from tfx.components import FnArgs

_SECONDS_BETWEEN_CHECKPOINTS = 5.0


class TrainingDivergedError(RuntimeError):
    """The weights became NaN or infinite; no model is exported."""


class Session:
    """The data, the model and the checkpoints of a training.

    Args:
        fn_args: TFX's arguments.
        config: all settings, adapted to this machine's devices.
        architecture: module from `models.registry.find`.
        task: this process's task in the cluster.
        strategy: the strategy of the cluster.

    Raises:
        ValueError: There are no examples, or fewer training examples than processes.
    """

    def __init__(
        self,
        fn_args: FnArgs,
        config: Options,
        architecture: ModuleType,
        task: ClusterTask,
        strategy: tf.distribute.Strategy,
    ):
        self.fn_args, self.config, self.architecture = fn_args, config, architecture
        self.task, self.strategy = task, strategy
        size, classes = config.image_size, len(config.labels)
        self.train, self.validation = (
            examples.ExampleFiles.of(patterns, size, classes, config.counts.get(split))
            for split, patterns in (("train", fn_args.train_files), ("eval", fn_args.eval_files))
        )
        if self.train.count < task.workers:
            raise ValueError(
                f"{self.train.count} training examples are too few for {task.workers} processes: "
                "each process needs at least one. Add images or use fewer machines."
            )
        trainer = config.trainer
        if trainer.seed is not None:
            tf_keras.utils.set_random_seed(trainer.seed)
        self.class_weights = optimization.class_weights(
            trainer.class_weights, config.labels, config.label_counts or self.train
        )
        with strategy.scope(), devices.precision(trainer):
            self.model = export.build(config, architecture)
        own = [architecture.TRAINING, getattr(architecture, "FINE_TUNING", architecture.TRAINING)]
        identity = checkpoints.identity(config, fn_args, own, strategy.num_replicas_in_sync)
        folder = config.checkpoint_dir or checkpoints.default_folder(
            fn_args.model_run_dir, identity
        )
        interval = _SECONDS_BETWEEN_CHECKPOINTS if task.workers == 1 else 0.0
        self.backup = checkpoints.Checkpoints(folder, identity, task.is_chief, interval)

    def phases(self) -> Iterator[Phase]:
        """Yields the phases in order; creates each after the previous one has been trained.

        Skips a phase that an earlier process of this training completed.
        """
        trainer, own = self.config.trainer, self.architecture.TRAINING
        if not isinstance(self.model, Pretrained):
            settings = phases.resolve_settings(trainer, own)
            yield self._create_phase(
                phases.TRAINING, settings, self.model, self.train, self.validation
            )
            return
        reached = self.backup.phase if self.backup.fits(self.model) else ""
        head = phases.resolve_settings(trainer, own)
        extractor = None
        if reached != phases.FINE_TUNING:
            extractor = extraction.FeatureExtractor(
                self.model.backbone,
                self.strategy,
                self.task.workers,
                folder=self.config.features_dir,
                limit=trainer.features_limit_mb << 20,
            )
            views = extraction.views(trainer)
            yield self._create_phase(
                phases.HEAD,
                head,
                self.model.head,
                train=extractor.features(self.train, self._shard, views, "training"),
                validation=extractor.features(self.validation, self._shard, name="validation"),
            )
        tuning = phases.resolve_settings(trainer, self.architecture.FINE_TUNING, fine_tuning=True)
        if epochs := self._fine_tuning_epochs(tuning, extractor):
            self.model.unfreeze()
            yield self._create_phase(
                phases.FINE_TUNING,
                dataclasses.replace(tuning, epochs=epochs),
                self.model,
                self.train,
                self.validation,
                first_epoch=head.epochs,
            )

    @property
    def _shard(self) -> examples.Shard:
        return examples.Shard(self.task.rank, self.task.workers)

    def _fine_tuning_epochs(
        self, tuning: TrainingSettings, extractor: extraction.FeatureExtractor | None
    ) -> int:
        if extractor is None:
            return self.backup.epochs  # An earlier process decided.
        trainer, workers = self.config.trainer, self.task.workers
        if trainer.fine_tuning_epochs is not None or phases.resolve_preset(trainer) == "fast":
            seconds = 0.0  # The number of epochs does not depend on it.
        else:
            seconds = extractor.seconds_per_image(self.train)
        epochs = phases.fine_tuning_epochs(
            trainer,
            tuning,
            train=self.train.count // workers,
            validation=self.validation.count // workers,
            seconds_per_image=seconds,
        )
        # All processes train as many epochs as the slowest has time for.
        return min(_all_gather(self.strategy, epochs)) if workers > 1 else epochs

    def _create_phase(
        self,
        name: str,
        settings: TrainingSettings,
        model: tf_keras.Model,
        train: examples.Examples,
        validation: examples.Examples,
        first_epoch: int = 0,
    ) -> Phase:
        """Creates a phase and compiles its model under the strategy."""
        trainer = self.config.trainer
        replicas = self.strategy.num_replicas_in_sync
        batch = settings.batch_size * replicas
        steps = self.fn_args.train_steps or trainer.steps_per_epoch
        steps = steps or phases.steps_per_epoch(settings, train.count, replicas)
        if isinstance(self.model, Pretrained):
            self.model.penalize(settings.penalty / train.count)
        with self.strategy.scope(), devices.precision(trainer):
            optimization.compile_model(
                model,
                self.config.labels,
                trainer,
                settings,
                total_steps=settings.epochs * steps,
                replicas=replicas,
                class_weights=self.class_weights,
            )
        return Phase(
            name=name,
            model=model,
            settings=settings,
            train=train,
            validation=validation,
            batch_size=batch,
            steps=steps,
            validation_steps=(
                self.fn_args.eval_steps or examples.steps_of_one_pass(validation, batch)
            ),
            first_epoch=first_epoch,
        )


def train_and_export(
    fn_args: FnArgs,
    config: Options,
    architecture: ModuleType,
    task: ClusterTask,
    strategy: tf.distribute.Strategy,
) -> None:
    """Trains under `strategy` and exports on the chief: see `models.trainer.run_fn`.

    Args:
        fn_args: TFX's arguments.
        config: all settings, adapted to this machine's devices.
        architecture: module from `models.registry.find`.
        task: this process's task in the cluster.
        strategy: the strategy of the cluster.
    """
    session = Session(fn_args, config, architecture, task, strategy)
    backup, model = session.backup, session.model
    done = backup.epoch
    if task.workers > 1:
        _check_same_checkpoint(strategy, backup, done)
    # In every process, because early stopping depends on it.
    history = progress.History(backup.folder, done, task.is_chief)
    with contextlib.ExitStack() as stack:
        callbacks: list[tf_keras.callbacks.Callback] = [history]
        tracker = None
        if task.is_chief:
            tracker = stack.enter_context(wandb_tracker.tracking(config, fn_args.model_run_dir))
        if tracker:
            callbacks += wandb_callbacks(tracker, session, history.epochs)
        trained: list[Phase] = []
        for phase in session.phases():
            history.phase = phase.name
            train(phase, session, history, callbacks)
            trained.append(phase)
        if tracker:
            tracker.finish()

        weights = model.get_weights()  # A collective operation: every process takes part.
        _check_finite(weights, history.epochs, config)
        model.set_weights(weights)  # Replaces the worker's own batch statistics by the mean.
        if task.is_chief:
            folder = fn_args.serving_model_dir.rstrip("/").rpartition("/")[0]
            golden_predictions.save(folder, model, session.validation)
            history.save(fn_args.model_run_dir)
            exported = exported_epoch(history.epochs, trained[-1], config)
            settings = _settings(session, trained)
            export.save(
                fn_args, config, architecture, weights, len(history.epochs), exported, settings
            )
        _all_gather(strategy, 0)  # No process ends before the model is written.
        if task.is_chief:
            backup.remove()


def _check_finite(
    weights: Sequence[NDArray[Any]], epochs: Sequence[EpochRow], config: Options
) -> None:
    """Raises TrainingDivergedError if a weight is NaN or infinite."""
    if all(np.isfinite(values).all() for values in weights):
        return
    diverged = (row["epoch"] for row in epochs if not math.isfinite(row["loss"]))
    rate = config.trainer.learning_rate
    raise TrainingDivergedError(
        f"the training diverged at epoch {next(diverged, len(epochs))}: its weights are no longer "
        "finite. Lower trainer.learning_rate"
        + (f", which is {rate:g}" if rate else "")
        + ", or set it to null to use the architecture's default."
    )


def train(
    phase: Phase,
    session: Session,
    history: progress.History,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
) -> None:
    """Trains one phase, from the checkpoint of an earlier process if there is one.

    Args:
        phase: from `Session.phases`.
        session: the training.
        history: the history of the training.
        callbacks: further Keras callbacks.
    """
    backup, trainer = session.backup, session.config.trainer
    done = max(phase.first_epoch, backup.restore(phase.model, phase.name, phase.settings.epochs))
    history.discard(after=done)
    callbacks, epochs = list(callbacks), phase.last_epoch
    patience = trainer.early_stopping or (phase.settings.epochs if phase.keeps_best else 0)
    if patience:
        candidates = candidate_epochs(history.epochs, phase, session.config)
        losses = [row["val_loss"] for row in candidates]
        stopping = checkpoints.EarlyStopping(patience, backup, losses)
        callbacks.append(stopping)
        epochs = done if stopping.is_over else epochs
    if session.task.is_chief:
        folder = session.fn_args.model_run_dir
        callbacks += [
            progress.ProgressLogger(phase, epochs),
            tf_keras.callbacks.TensorBoard(folder, write_graph=False),
        ]
    # The backup comes last, so that an epoch counts as done only after the others have written.
    fit(phase, session, callbacks=[*callbacks, backup], done=done, epochs=epochs)


def wandb_callbacks(
    tracker: wandb_tracker.Tracker, session: Session, earlier: Sequence[EpochRow]
) -> list[tf_keras.callbacks.Callback]:
    """Creates the callbacks that log a training to W&B."""
    from models.tracking import callbacks

    config = session.config
    found: list[tf_keras.callbacks.Callback] = [callbacks.Metrics(tracker, earlier)]
    if every := config.wandb.images_every:
        found.append(
            callbacks.Predictions(tracker, session.model, session.validation, config.labels, every)
        )
    return found


def fit(
    phase: Phase,
    session: Session,
    *,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
    done: int = 0,
    epochs: int | None = None,
) -> None:
    """Fits the compiled model of a phase under the strategy of the session.

    Args:
        phase: from `Session.phases`.
        session: the training.
        callbacks: Keras callbacks.
        done: number of epochs that earlier processes and phases completed.
        epochs: number of the last epoch, over all phases; None takes the phase's.
    """
    model, config, strategy = phase.model, session.config, session.strategy
    seed = _set_process_seed(config.trainer.seed, session.task.rank, done)

    def batch_and_shard(context: tf.distribute.InputContext) -> tuple[int, examples.Shard]:
        shard = examples.Shard(context.input_pipeline_id, context.num_input_pipelines)
        return context.get_per_replica_batch_size(phase.batch_size), shard

    def train(context: tf.distribute.InputContext) -> tf.data.Dataset:
        batch, shard = batch_and_shard(context)
        return examples.training(phase.train, batch, shard, seed=seed, cache=locations["train"])

    def validation(context: tf.distribute.InputContext) -> tf.data.Dataset:
        batch, shard = batch_and_shard(context)
        steps = phase.validation_steps * strategy.num_replicas_in_sync // shard.workers
        return examples.evaluation(phase.validation, batch, steps, shard, cache=locations["eval"])

    kind, size = config.trainer.cache, features.image_bytes(config.image_size)
    if isinstance(phase.train, examples.Features):
        kind = "none"  # The features are in memory.
    size *= (phase.train.count + phase.validation.count) // session.task.workers
    with cache.locations(kind, size) as locations:
        splits = [
            examples.PersistentIterator(strategy.distribute_datasets_from_function(split))
            for split in (train, validation)
        ]
        model.fit(
            splits[0],
            initial_epoch=done,
            epochs=phase.last_epoch if epochs is None else epochs,
            steps_per_epoch=phase.steps,
            validation_data=splits[1],
            validation_steps=phase.validation_steps,
            callbacks=list(callbacks),
            verbose=0,
        )
        examples.close(splits)


def exported_epoch(epochs: Sequence[EpochRow], last: Phase, config: Options) -> EpochRow:
    """Returns the row of the epoch whose weights are exported; empty without epochs."""
    if not epochs or not (last.keeps_best or config.trainer.early_stopping):
        return epochs[-1] if epochs else {}
    return _best(candidate_epochs(epochs, last, config))


def candidate_epochs(epochs: Sequence[EpochRow], phase: Phase, config: Options) -> list[EpochRow]:
    """Returns the rows of the epochs whose weights the phase may end with.

    If the phase keeps the best weights, the first row is that of the weights it starts with.
    """
    own = [row for row in epochs if row["epoch"] > phase.first_epoch]
    earlier = [row for row in epochs if row["epoch"] <= phase.first_epoch]
    if not (phase.keeps_best and earlier):
        return own
    # With early stopping, the previous phase ended with the weights of its best epoch.
    return [_best(earlier) if config.trainer.early_stopping else earlier[-1], *own]


def _best(rows: Sequence[EpochRow]) -> EpochRow:
    """Returns the row of the lowest validation loss; NaN counts as infinite."""
    return min(
        rows, key=lambda row: row["val_loss"] if math.isfinite(row["val_loss"]) else math.inf
    )


def _settings(session: Session, trained: Sequence[Phase]) -> dict[str, Any]:
    """Returns the settings of a training with all defaults filled in."""
    trainer = session.config.trainer
    settings = {**dataclasses.asdict(trainer), "workers": session.task.workers}
    if isinstance(session.model, Pretrained):
        settings["preset"] = phases.resolve_preset(trainer)
        # Listed even if an earlier process trained the head.
        head = phases.resolve_settings(trainer, session.architecture.TRAINING)
        settings[phases.HEAD] = dataclasses.asdict(head)
    for phase in trained:
        settings[phase.name] = {
            **dataclasses.asdict(phase.settings),
            "steps_per_epoch": phase.steps,
            "global_batch_size": phase.batch_size,
        }
    return settings


def _set_process_seed(seed: int | None, rank: int, done: int) -> int | None:
    """Sets and returns the seed of order and augmentation.

    It differs between processes, and between the first start and a resumption.
    """
    if seed is None:
        return None
    seed = int(np.random.SeedSequence([seed, rank, done]).generate_state(1)[0])
    tf_keras.utils.set_random_seed(seed)
    return seed


def _check_same_checkpoint(
    strategy: tf.distribute.Strategy, backup: checkpoints.Checkpoints, done: int
) -> None:
    """Checks that all processes resume from the same checkpoint.

    Raises:
        ValueError: The processes see different folders; raised in each of them.
    """
    _all_gather(strategy, 0)  # Waits until the chief has removed another training's checkpoint.
    found = _all_gather(strategy, done if backup.exists() else -1)
    if len(set(found)) > 1:
        raise ValueError(
            f"checkpoint_dir is not shared: {backup.folder} is not the same folder in all "
            "processes of the cluster. Completed epochs that each process found in it (-1 for no "
            f"folder): {found}. Set checkpoint_dir to a folder that all machines share."
        )


def _all_gather(strategy: tf.distribute.Strategy, value: int) -> list[int]:
    """Returns the values of all processes; fails like a training step if a process is lost."""

    def gather() -> tf.Tensor:
        return strategy.gather(strategy.run(lambda: tf.constant([value])), axis=0)

    return [int(each) for each in tf.function(gather)().numpy()]
