"""One training from examples to exported model, in one process of its cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
import tf_keras

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
from models.distributed.cluster import Task
from models.options import Options
from models.phases import Phase
from models.registry import Training
from models.tracking import wandb_tracker
from models.transfer import Pretrained

if TYPE_CHECKING:
    from tfx.components import FnArgs

_SECONDS_BETWEEN_CHECKPOINTS = 5.0


class TrainingDivergedError(RuntimeError):
    """The loss grew beyond all bounds; nothing is exported."""


class Session:
    """A training under way: its data, its model, and what is kept of it.

    Args:
        fn_args: TFX's arguments.
        config: all settings, as they hold on this machine.
        architecture: module from `models.registry.find`.
        task: this process's place in the cluster.
        strategy: the strategy of the cluster.

    Raises:
        ValueError: no examples, or fewer than processes that train.
    """

    def __init__(
        self,
        fn_args: FnArgs,
        config: Options,
        architecture: ModuleType,
        task: Task,
        strategy: tf.distribute.Strategy,
    ):
        self.fn_args, self.config, self.architecture = fn_args, config, architecture
        self.task, self.strategy = task, strategy
        size, classes = config.image_size, len(config.labels)
        self.train, self.validation = (
            examples.Source.of(patterns, size, classes, config.counts.get(split))
            for split, patterns in (("train", fn_args.train_files), ("eval", fn_args.eval_files))
        )
        if self.train.count < task.workers:
            raise ValueError(
                f"{self.train.count} training examples are too few for {task.workers} processes: "
                "each needs one at least."
            )
        trainer = config.trainer
        if trainer.seed is not None:
            tf_keras.utils.set_random_seed(trainer.seed)
        self.class_weights = optimization.class_weights(
            trainer.class_weights, config.labels, self.train, config.label_counts
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
        """The parts of the training in their order, each made once the one before has ended.

        A part that an earlier process of this training had left behind is passed over.
        """
        trainer, own = self.config.trainer, self.architecture.TRAINING
        if not isinstance(self.model, Pretrained):
            yield self._phase(phases.TRAINING, phases.resolve_settings(trainer, own))
            return
        reached = self.backup.phase if self.backup.fits(self.model) else ""
        head = phases.resolve_settings(trainer, own)
        extractor = None
        if reached != phases.FINE_TUNING:
            kept = extraction.Kept(self.config.features_dir, trainer.features_limit_mb << 20)
            extractor = extraction.Extractor(
                self.model.backbone, self.strategy, self.task.workers, kept
            )
            views = extraction.views(trainer)
            yield self._phase(
                phases.HEAD,
                head,
                model=self.model.head,
                train=extractor.features(self.train, self._shard, views, "training"),
                validation=extractor.features(self.validation, self._shard, name="validation"),
            )
        tuning = phases.resolve_settings(trainer, self.architecture.FINE_TUNING, fine_tuning=True)
        if epochs := self._fine_tuning_epochs(tuning, extractor):
            self.model.thaw()
            tuning = dataclasses.replace(tuning, epochs=epochs)
            yield self._phase(phases.FINE_TUNING, tuning, first_epoch=head.epochs)

    @property
    def _shard(self) -> examples.Shard:
        return examples.Shard(self.task.rank, self.task.workers)

    def _fine_tuning_epochs(self, tuning: Training, extractor) -> int:
        if extractor is None:
            return self.backup.epochs  # As many as the process before decided on.
        trainer, workers = self.config.trainer, self.task.workers
        if trainer.fine_tuning_epochs is not None or phases.preset(trainer) == "fast":
            seconds = 0.0  # It is not asked for.
        else:
            seconds = extractor.seconds_a_photo(self.train)
        sizes = (source.count // workers for source in (self.train, self.validation))
        epochs = phases.fine_tuning_epochs(trainer, tuning, *sizes, seconds)
        # The slowest decides.
        return min(_gather(self.strategy, epochs)) if workers > 1 else epochs

    def _phase(
        self,
        name: str,
        settings: Training,
        model: tf_keras.Model | None = None,
        train: examples.Examples | None = None,
        validation: examples.Examples | None = None,
        first_epoch: int = 0,
    ) -> Phase:
        """A phase whose model is compiled under the strategy."""
        trainer, model = self.config.trainer, model or self.model
        train, validation = train or self.train, validation or self.validation
        replicas = self.strategy.num_replicas_in_sync
        batch = settings.batch_size * replicas
        steps = self.fn_args.train_steps or trainer.steps_per_epoch
        steps = steps or phases.steps_an_epoch(settings, train.count, replicas)
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
    task: Task,
    strategy: tf.distribute.Strategy,
) -> None:
    """Trains under `strategy` and exports on the chief: see `models.trainer.run_fn`.

    Args:
        fn_args: TFX's arguments.
        config: all settings, as they hold on this machine.
        architecture: module from `models.registry.find`.
        task: this process's place in the cluster.
        strategy: the strategy of the cluster.
    """
    session = Session(fn_args, config, architecture, task, strategy)
    backup, model = session.backup, session.model
    done = backup.epoch
    if task.workers > 1:
        _agree(strategy, backup, done)
    # To every process, because when a training ends depends on it.
    history = progress.History(backup.folder, done, task.is_chief)
    with contextlib.ExitStack() as stack:
        callbacks: list[tf_keras.callbacks.Callback] = [history]
        tracker = None
        if task.is_chief:
            tracker = stack.enter_context(wandb_tracker.tracking(config, fn_args.model_run_dir))
        if tracker:
            callbacks += tracked(tracker, session, history.epochs)
        trained: list[Phase] = []
        for phase in session.phases():
            history.phase = phase.name
            train(phase, session, history, callbacks)
            trained.append(phase)
        if tracker:
            tracker.finish()

        weights = model.get_weights()  # Of all workers together: each must ask for them.
        _check_finite(weights, history.epochs, config)
        model.set_weights(weights)  # A worker's own batch statistics are not what is exported.
        if task.is_chief:
            golden_predictions.save(
                fn_args.serving_model_dir.rstrip("/").rpartition("/")[0],
                golden_predictions.answers(model, session.validation),
            )
            history.save(fn_args.model_run_dir)
            exported = exported_epoch(history.epochs, trained[-1], config)
            settings = _settings(session, trained)
            export.save(
                fn_args, config, architecture, weights, len(history.epochs), exported, settings
            )
        _gather(strategy, 0)  # Nobody goes before the model is written.
        if task.is_chief:
            backup.remove()


def _check_finite(
    weights: Sequence[np.ndarray], epochs: Sequence[dict[str, float]], config: Options
) -> None:
    """Raises TrainingDivergedError where the weights to be exported are not all numbers."""
    if all(np.isfinite(values).all() for values in weights):
        return
    diverged = (row["epoch"] for row in epochs if not math.isfinite(row["loss"]))
    rate = config.trainer.learning_rate
    raise TrainingDivergedError(
        f"the training diverged at epoch {next(diverged, len(epochs))}: its weights are no numbers "
        "any more. Lower trainer.learning_rate"
        + (f", which is {rate:g}" if rate else "")
        + ", or leave it to the architecture"
    )


def train(
    phase: Phase,
    session: Session,
    history: progress.History,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
) -> None:
    """Does one part of the training, from where an earlier process left it."""
    backup, trainer = session.backup, session.config.trainer
    done = max(phase.first_epoch, backup.restore(phase.model, phase.name, phase.settings.epochs))
    history.forget(after=done)
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
    # The backup comes last: what the others write of an epoch is there when it counts as done.
    fit(phase, session, callbacks=[*callbacks, backup], done=done, epochs=epochs)


def tracked(
    tracker: wandb_tracker.Tracker, session: Session, earlier: Sequence[dict[str, float]]
) -> list[tf_keras.callbacks.Callback]:
    """The callbacks that tell W&B of a training."""
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
    """Fits the compiled model of a phase under the strategy it was built in.

    Args:
        phase: from `Session.phases`.
        session: the training.
        callbacks: Keras callbacks.
        done: epochs that an earlier process did.
        epochs: epochs in all; None takes the phase's.
    """
    model, config, strategy = phase.model, session.config, session.strategy
    seed = _draw_anew(config.trainer.seed, session.task.rank, done)

    def cut(context: tf.distribute.InputContext) -> tuple[int, examples.Shard]:
        shard = examples.Shard(context.input_pipeline_id, context.num_input_pipelines)
        return context.get_per_replica_batch_size(phase.batch_size), shard

    def train(context):
        return examples.training(phase.train, *cut(context), seed=seed, cache=places["train"])

    def validation(context):
        batch, shard = cut(context)
        steps = phase.validation_steps * strategy.num_replicas_in_sync // shard.workers
        return examples.evaluation(phase.validation, batch, steps, shard, cache=places["eval"])

    kind, size = config.trainer.cache, features.image_bytes(config.image_size)
    if isinstance(phase.train, examples.Features):
        kind = "none"  # They are in memory.
    size *= (phase.train.count + phase.validation.count) // session.task.workers
    with cache.locations(kind, size) as places:
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


def exported_epoch(
    epochs: Sequence[dict[str, float]], last: Phase, config: Options
) -> dict[str, float]:
    """The row of the epoch whose weights are exported; empty without epochs."""
    if not epochs or not (last.keeps_best or config.trainer.early_stopping):
        return epochs[-1] if epochs else {}
    return _best(candidate_epochs(epochs, last, config))


def candidate_epochs(
    epochs: Sequence[dict[str, float]], phase: Phase, config: Options
) -> list[dict[str, float]]:
    """The rows of a phase's epochs, and before them that of the weights it has to beat, if any."""
    own = [row for row in epochs if row["epoch"] > phase.first_epoch]
    earlier = [row for row in epochs if row["epoch"] <= phase.first_epoch]
    if not (phase.keeps_best and earlier):
        return own
    # With early stopping the phase before has ended with the weights of its best epoch.
    return [_best(earlier) if config.trainer.early_stopping else earlier[-1], *own]


def _best(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """That of the lowest loss; one that is no number is taken only where there is no other."""
    return min(rows, key=lambda row: row["val_loss"] if np.isfinite(row["val_loss"]) else np.inf)


def _settings(session: Session, trained: Sequence[Phase]) -> dict:
    """The settings of a training with the defaults that came to bear."""
    trainer = session.config.trainer
    settings = {**dataclasses.asdict(trainer), "workers": session.task.workers}
    if isinstance(session.model, Pretrained):
        settings["preset"] = phases.preset(trainer)
        # An earlier process may have trained it.
        head = phases.resolve_settings(trainer, session.architecture.TRAINING)
        settings[phases.HEAD] = dataclasses.asdict(head)
    for phase in trained:
        settings[phase.name] = {
            **dataclasses.asdict(phase.settings),
            "steps_per_epoch": phase.steps,
            "global_batch_size": phase.batch_size,
        }
    return settings


def _draw_anew(seed: int | None, rank: int, done: int) -> int | None:
    """The seed of order and augmentation, which is set too.

    It differs from process to process, and after a restart from that of the epochs before it.
    """
    if seed is None:
        return None
    seed = int(np.random.SeedSequence([seed, rank, done]).generate_state(1)[0])
    tf_keras.utils.set_random_seed(seed)
    return seed


def _agree(strategy: tf.distribute.Strategy, backup: checkpoints.Checkpoints, done: int) -> None:
    """Makes sure that all processes go on from the same checkpoint.

    Raises:
        ValueError: they do not, in each of them.
    """
    _gather(strategy, 0)  # The chief has cleared the folder of what is not this training's.
    found = _gather(strategy, done if backup.is_there() else -1)
    if len(set(found)) > 1:
        raise ValueError(
            f"checkpoint_dir is not shared: {backup.folder} is not the same folder to all "
            "processes of the cluster. Epochs that each finds done there, -1 for no such folder: "
            f"{found}."
        )


def _gather(strategy: tf.distribute.Strategy, value: int) -> list[int]:
    """The values of all processes; fails, as any step does, if one of them is lost."""

    @tf.function
    def gather():
        return strategy.gather(strategy.run(lambda: tf.constant([value])), axis=0)

    return gather().numpy().tolist()
