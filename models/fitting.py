"""The training itself, under a strategy that exists already."""

from __future__ import annotations

import dataclasses

import tensorflow as tf
import tensorflow_transform as tft
import tf_keras

from models import input as examples
from models import optimization, progress, signatures, tracking


def fit_and_export(fn_args, config, architecture, task, strategy) -> None:
    """Trains, then exports: see `models.trainer.run_fn`.

    Args:
        fn_args: TFX's arguments.
        config: `models.options.Options`.
        architecture: module from `models.registry.find`.
        task: this process's `models.cluster.Task`.
        strategy: the strategy of the cluster.
    """
    trainer, training = config.trainer, architecture.TRAINING
    if trainer.seed is not None:
        tf_keras.utils.set_random_seed(trainer.seed)
    transform_output = tft.TFTransformOutput(fn_args.transform_output)
    classes = len(config.labels)
    train, validation = (
        examples.Source.of(patterns, config.image_size, classes, config.counts.get(split))
        for split, patterns in (("train", fn_args.train_files), ("eval", fn_args.eval_files))
    )
    replicas = strategy.num_replicas_in_sync
    global_batch = trainer.batch_size * replicas
    epochs = trainer.epochs or training.epochs
    steps = (
        fn_args.train_steps
        or trainer.steps_per_epoch
        or examples.steps_of_one_pass(train, global_batch)
    )

    with strategy.scope():
        model = build(config, architecture)
        optimization.compile_model(
            model,
            config.labels,
            trainer,
            training,
            total_steps=epochs * steps,
            replicas=replicas,
        )

    history = progress.History(fn_args.model_run_dir)
    run = None
    callbacks: list = []
    if trainer.early_stopping:
        callbacks.append(
            tf_keras.callbacks.EarlyStopping(
                "val_loss", patience=trainer.early_stopping, restore_best_weights=True
            )
        )
    if task.is_chief:
        run = tracking.start(
            config.wandb,
            tracking.run_id(config, fn_args.model_run_dir),
            fn_args.model_run_dir,
            dataclasses.asdict(config),
        )
        callbacks += [
            history,
            progress.ProgressLogger(epochs, steps, global_batch),
            tf_keras.callbacks.TensorBoard(fn_args.model_run_dir, write_graph=False),
            *tracking.callbacks(run),
        ]
    validation_steps = fn_args.eval_steps or examples.steps_of_one_pass(validation, global_batch)

    def train_data(context: tf.distribute.InputContext):
        batch = context.get_per_replica_batch_size(global_batch)
        return examples.training(train, batch, _shard(context), seed=trainer.seed)

    def validation_data(context: tf.distribute.InputContext):
        batch = context.get_per_replica_batch_size(global_batch)
        steps = validation_steps * replicas // task.workers
        return examples.evaluation(validation, batch, steps, _shard(context))

    model.fit(
        strategy.distribute_datasets_from_function(train_data),
        epochs=epochs,
        steps_per_epoch=steps,
        validation_data=strategy.distribute_datasets_from_function(validation_data),
        validation_steps=validation_steps,
        callbacks=callbacks,
        verbose=0,
    )
    tracking.finish(run)
    export(model, config, architecture, transform_output, fn_args.serving_model_dir)


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
    served = build(config, architecture)
    served.set_weights(weights)
    classifier = signatures.Classifier(served, transform_output, config.labels, config.image_size)
    classifier.save(path)


def _shard(context: tf.distribute.InputContext) -> examples.Shard:
    return examples.Shard(context.input_pipeline_id, context.num_input_pipelines)
