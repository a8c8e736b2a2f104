"""One training from examples to exported model, in one process of its cluster."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
import tf_keras

from models import (
    cache,
    checkpoints,
    devices,
    export,
    features,
    optimization,
    progress,
    reference,
    tracking,
)
from models import input as examples
from models.cluster import Task
from models.options import Options

if TYPE_CHECKING:
    from tfx.components import FnArgs

_SECONDS_BETWEEN_CHECKPOINTS = 5.0


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a training walks through, once all defaults are filled in."""

    train: examples.Source
    validation: examples.Source
    epochs: int
    batch_size: int
    """Examples a step over all replicas."""
    steps: int
    """Training steps an epoch."""
    validation_steps: int
    task: Task = dataclasses.field(default_factory=Task)
    """This process's place among those that train together."""


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
    plan = make_plan(fn_args, config, architecture, task, strategy)
    model = build(config, architecture, plan, strategy)
    identity = checkpoints.identity(config, fn_args, architecture.TRAINING, plan.batch_size)
    folder = config.checkpoint_dir or checkpoints.default_folder(fn_args.model_run_dir, identity)
    interval = _SECONDS_BETWEEN_CHECKPOINTS if task.workers == 1 else 0.0
    backup = checkpoints.Checkpoints(folder, identity, task.is_chief, interval)
    done = backup.restore(model)
    if task.workers > 1:
        _agree(strategy, backup, done)
    history = progress.History(folder, done)
    callbacks: list[tf_keras.callbacks.Callback] = []
    epochs = plan.epochs
    if patience := config.trainer.early_stopping:
        losses = [row["val_loss"] for row in history.epochs]
        stopping = checkpoints.EarlyStopping(patience, backup, losses)
        callbacks.append(stopping)
        epochs = done if stopping.is_over else epochs
    with contextlib.ExitStack() as stack:
        tracker = None
        if task.is_chief:
            tracker = stack.enter_context(tracking.tracking(config, fn_args.model_run_dir))
            callbacks += [
                history,
                progress.ProgressLogger(epochs, plan.steps, plan.batch_size),
                tf_keras.callbacks.TensorBoard(fn_args.model_run_dir, write_graph=False),
            ]
        if tracker:
            callbacks += tracked(tracker, config, plan, strategy, history.epochs)
        # The backup comes last: what the others write of an epoch is there when it counts as done.
        fit(model, plan, config, callbacks=[*callbacks, backup], done=done, epochs=epochs)
        if tracker:
            tracker.finish()

        weights = model.get_weights()  # Of all workers together: each must ask for them.
        model.set_weights(weights)  # A worker's own batch statistics are not what is exported.
        if task.is_chief:
            reference.save(
                fn_args.serving_model_dir.rstrip("/").rpartition("/")[0],
                reference.answers(model, plan.validation),
            )
            history.save(fn_args.model_run_dir)
            settings = _settings(config, architecture, plan)
            export.save(fn_args, config, architecture, weights, history.epochs, settings)
        _gather(strategy, 0)  # Nobody goes before the model is written.
        if task.is_chief:
            backup.remove()


def tracked(
    tracker: tracking.Tracker,
    config: Options,
    plan: Plan,
    strategy: tf.distribute.Strategy,
    earlier: Sequence[dict[str, float]],
) -> list[tf_keras.callbacks.Callback]:
    """The callbacks that tell W&B of a training."""
    from models import tracking_callbacks

    found: list[tf_keras.callbacks.Callback] = [tracking_callbacks.Metrics(tracker, earlier)]
    if every := config.wandb.images_every:
        source = plan.validation
        found.append(
            tracking_callbacks.Predictions(tracker, source, config.labels, strategy, every)
        )
    return found


def make_plan(
    fn_args: FnArgs,
    config: Options,
    architecture: ModuleType,
    task: Task,
    strategy: tf.distribute.Strategy,
) -> Plan:
    """Finds the examples of both splits and counts the steps.

    Raises:
        ValueError: no examples, or fewer than processes that train.
    """
    size, classes, trainer = config.image_size, len(config.labels), config.trainer
    train, validation = (
        examples.Source.of(patterns, size, classes, config.counts.get(split))
        for split, patterns in (("train", fn_args.train_files), ("eval", fn_args.eval_files))
    )
    if train.count < task.workers:
        raise ValueError(
            f"{train.count} training examples are too few for {task.workers} processes: each needs "
            "one at least."
        )
    batch = trainer.batch_size * strategy.num_replicas_in_sync
    steps = fn_args.train_steps or trainer.steps_per_epoch
    return Plan(
        train=train,
        validation=validation,
        epochs=trainer.epochs or architecture.TRAINING.epochs,
        batch_size=batch,
        steps=steps or examples.steps_of_one_pass(train, batch),
        validation_steps=fn_args.eval_steps or examples.steps_of_one_pass(validation, batch),
        task=task,
    )


def build(
    config: Options, architecture: ModuleType, plan: Plan, strategy: tf.distribute.Strategy
) -> tf_keras.Model:
    """Builds and compiles the model under the strategy."""
    trainer = config.trainer
    if trainer.seed is not None:
        tf_keras.utils.set_random_seed(trainer.seed)
    weights = optimization.class_weights(trainer.class_weights, config.labels, plan.train)
    with strategy.scope(), devices.precision(trainer):
        model = export.build(config, architecture)
        optimization.compile_model(
            model,
            config.labels,
            trainer,
            architecture.TRAINING,
            total_steps=plan.epochs * plan.steps,
            replicas=strategy.num_replicas_in_sync,
            class_weights=weights,
        )
    return model


def fit(
    model: tf_keras.Model,
    plan: Plan,
    config: Options,
    *,
    callbacks: Sequence[tf_keras.callbacks.Callback] = (),
    done: int = 0,
    epochs: int | None = None,
) -> None:
    """Trains a compiled model under the strategy it was built in.

    Args:
        model: from `build`.
        plan: from `make_plan`.
        config: all settings.
        callbacks: Keras callbacks.
        done: epochs that an earlier process did.
        epochs: epochs in all; None takes the plan's.
    """
    strategy = model.distribute_strategy
    seed = _draw_anew(config.trainer.seed, plan.task.rank, done)

    def cut(context: tf.distribute.InputContext) -> tuple[int, examples.Shard]:
        shard = examples.Shard(context.input_pipeline_id, context.num_input_pipelines)
        return context.get_per_replica_batch_size(plan.batch_size), shard

    def train(context):
        return examples.training(plan.train, *cut(context), seed=seed, cache=places["train"])

    def validation(context):
        batch, shard = cut(context)
        steps = plan.validation_steps * strategy.num_replicas_in_sync // shard.workers
        return examples.evaluation(plan.validation, batch, steps, shard, cache=places["eval"])

    size = (plan.train.count + plan.validation.count) * features.image_bytes(config.image_size)
    with cache.locations(config.trainer.cache, size // plan.task.workers) as places:
        splits = [
            examples.Continued(strategy.distribute_datasets_from_function(split))
            for split in (train, validation)
        ]
        model.fit(
            splits[0],
            initial_epoch=done,
            epochs=plan.epochs if epochs is None else epochs,
            steps_per_epoch=plan.steps,
            validation_data=splits[1],
            validation_steps=plan.validation_steps,
            callbacks=list(callbacks),
            verbose=0,
        )
        examples.let_go(splits)


def _settings(config: Options, architecture: ModuleType, plan: Plan) -> dict:
    """The settings of a training with the defaults that came to bear."""
    own, given = dataclasses.asdict(architecture.TRAINING), dataclasses.asdict(config.trainer)
    chosen = own | {name: value for name, value in given.items() if value is not None}
    sizes = {"epochs": plan.epochs, "steps_per_epoch": plan.steps, "workers": plan.task.workers}
    return {**chosen, **sizes, "global_batch_size": plan.batch_size}


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
