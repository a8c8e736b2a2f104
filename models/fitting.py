"""The training itself, under a strategy that exists already."""

from __future__ import annotations

import dataclasses
import time

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras

from models import hardware, model_card, optimization, progress, signatures, storage, tracking
from models import input as examples

_EXPORT_TIMEOUT = 600.0  # seconds that a worker waits for the chief's export
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)


def fit_and_export(fn_args, config, architecture, task, strategy) -> None:
    """Trains, then exports: see `models.trainer.run_fn`.

    Args:
        fn_args: TFX's arguments.
        config: `models.options.Options`.
        architecture: module from `models.registry.find`.
        task: this process's `models.cluster.Task`.
        strategy: the strategy of the cluster.
    """
    train, validation = (
        examples.Source.of(
            patterns, config.image_size, len(config.labels), config.counts.get(split)
        )
        for split, patterns in (("train", fn_args.train_files), ("eval", fn_args.eval_files))
    )
    card = f"{fn_args.serving_model_dir}/{model_card.FILE}"
    checkpoints = storage.checkpoint_dir(config, fn_args)
    if task.is_chief and tf.io.gfile.exists(card):
        tf.io.gfile.remove(card)
    run = tracking.start(config, fn_args.model_run_dir) if task.is_chief else None
    history = progress.History(checkpoints, fn_args.model_run_dir)
    chief_only = [history, *tracking.callbacks(run)] if task.is_chief else []
    if task.is_chief:
        chief_only += [
            tf_keras.callbacks.TensorBoard(fn_args.model_run_dir, write_graph=False),
            *tracking.images(run, config, strategy, validation),
        ]
    try:
        model, settings = fit(
            config,
            architecture,
            strategy,
            train,
            validation,
            steps=(fn_args.train_steps, fn_args.eval_steps),
            checkpoints=checkpoints,
            workers=task.workers,
            report=task.is_chief,
            callbacks=chief_only,
        )
    except _LOST as error:
        if task.workers == 1:
            raise
        raise RuntimeError(
            "The training stopped because another process of its cluster was lost. Start all of "
            f"them again: it goes on after the last whole epoch, kept in {checkpoints}. "
            f"TensorFlow says: {str(error).splitlines()[0]}"
        ) from error
    if not task.is_chief:
        _wait_for(card)
        return
    tracking.finish(run, config.wandb.mode)
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    export(model, config, architecture, transform_output, fn_args.serving_model_dir)
    progress.write_json(card, model_card.describe(config, history.epochs, settings))
    tf.io.gfile.rmtree(checkpoints)


def fit(
    config,
    architecture,
    strategy,
    train: examples.Source,
    validation: examples.Source,
    *,
    steps=(None, None),
    checkpoints: str | None = None,
    workers: int = 1,
    report: bool = True,
    callbacks=(),
):
    """Builds and trains a model.

    Args:
        config: `models.options.Options`.
        architecture: module from `models.registry.find`.
        strategy: the strategy of the cluster.
        train: examples to train on.
        validation: examples to judge each epoch by.
        steps: training steps an epoch and validation steps; None or 0 take all examples.
        checkpoints: folder to go on from and to keep checkpoints in; None keeps none.
        workers: processes that train together.
        report: whether this process tells the progress.
        callbacks: further callbacks.

    Returns:
        The model, under the strategy, and the settings it was trained with as plain values.
    """
    trainer, training = config.trainer, architecture.TRAINING
    if trainer.seed is not None:
        tf_keras.utils.set_random_seed(trainer.seed)
    replicas = strategy.num_replicas_in_sync
    global_batch = trainer.batch_size * replicas
    epochs = trainer.epochs or training.epochs
    train_steps, validation_steps = steps
    train_steps = (
        train_steps or trainer.steps_per_epoch or examples.steps_of_one_pass(train, global_batch)
    )
    validation_steps = validation_steps or examples.steps_of_one_pass(validation, global_batch)
    weights = optimization.class_weights(trainer.class_weights, config.labels, train)
    kept = [train.count // workers, validation.count // workers]
    caches = [storage.choose_cache(trainer.cache, count, config.image_size) for count in kept]

    with strategy.scope():
        model = build(config, architecture)
        optimization.compile_model(
            model,
            config.labels,
            trainer,
            training,
            total_steps=epochs * train_steps,
            replicas=replicas,
        )

    def train_data(context: tf.distribute.InputContext):
        batch = context.get_per_replica_batch_size(global_batch)
        return examples.training(
            train, batch, _shard(context), seed=trainer.seed, cache=caches[0], weights=weights
        )

    def validation_data(context: tf.distribute.InputContext):
        batch = context.get_per_replica_batch_size(global_batch)
        batches = validation_steps * replicas // workers
        return examples.evaluation(validation, batch, batches, _shard(context), cache=caches[1])

    callbacks = list(callbacks)
    if checkpoints:
        callbacks.append(tf_keras.callbacks.BackupAndRestore(checkpoints, delete_checkpoint=False))
    if trainer.early_stopping:
        callbacks.append(
            tf_keras.callbacks.EarlyStopping(
                "val_loss", patience=trainer.early_stopping, restore_best_weights=True
            )
        )
    if report:
        callbacks.append(progress.ProgressLogger(epochs, train_steps, global_batch))
    try:
        model.fit(
            strategy.distribute_datasets_from_function(train_data),
            epochs=epochs,
            steps_per_epoch=train_steps,
            validation_data=strategy.distribute_datasets_from_function(validation_data),
            validation_steps=validation_steps,
            callbacks=callbacks,
            verbose=0,
        )
    finally:
        for cache in caches:
            storage.drop_cache(cache)
    settings = {
        **dataclasses.asdict(trainer),
        "training": dataclasses.asdict(training),
        "epochs": epochs,
        "steps_per_epoch": train_steps,
        "global_batch_size": global_batch,
        "replicas": replicas,
        "workers": workers,
    }
    return model, settings


def build(config, architecture) -> tf_keras.Model:
    """Builds the configured architecture.

    Raises:
        ValueError: an argument that the architecture does not take.
    """
    try:
        return architecture.build(config.image_size, len(config.labels), **config.model.arguments)
    except TypeError as error:
        raise ValueError(f"The model '{config.model.name}' cannot be built: {error}.") from error


def export(model, config, architecture, transform_output, path: str) -> None:
    """Writes the SavedModel of a trained model."""
    weights = model.get_weights()
    # A copy outside the strategy, in full precision, serves anywhere.
    hardware.full_precision()
    served = build(config, architecture)
    served.set_weights(weights)
    classifier = signatures.Classifier(served, transform_output, config.labels, config.image_size)
    classifier.save(path)


def _shard(context: tf.distribute.InputContext) -> examples.Shard:
    return examples.Shard(context.input_pipeline_id, context.num_input_pipelines)


def _wait_for(path: str) -> None:
    """TFX looks for the model in every process, and only the chief writes it."""
    deadline = time.monotonic() + _EXPORT_TIMEOUT
    while not tf.io.gfile.exists(path):
        if time.monotonic() > deadline:
            raise RuntimeError(f"The chief has not exported its model within {_EXPORT_TIMEOUT} s.")
        time.sleep(0.5)
