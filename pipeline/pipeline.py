"""The TFX pipeline, from TFRecords to a pushed model."""

import dataclasses
from pathlib import Path
from typing import Any

import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tfx import v1 as tfx

import models
from data.record.records import IMAGE
from models import registry
from pipeline import placement
from pipeline.artifacts.digests import file_digest, folder_digest, settings_digest
from pipeline.components import cross_validation
from pipeline.components import quality_gate as gate_1
from pipeline.components import serving_check as gate_2
from pipeline.components.evaluator import RecordingEvaluator
from pipeline.components.example_validator import StrictExampleValidator
from pipeline.components.pusher import BlessedPusher
from pipeline.components.record_schema import RecordSchema, known_layout
from pipeline.config.gate import Override
from pipeline.config.schema import Config, RunConfig
from pipeline.gate import extractors
from pipeline.gate.evaluation import eval_config
from pipeline.metadata.store_identity import store_identity

_MODELS = Path(models.__file__).parent


def create_pipeline(
    config: RunConfig, cache_nonce: str = "", override: Override | None = None
) -> tfx.dsl.Pipeline:
    """Creates the pipeline, for this machine or, with `config.cloud`, for Google Cloud.

    Args:
        config: the config of a run.
        cache_nonce: the result of `Target.preflight`; a new value repeats the push instead of
            taking it from the cache.
        override: blesses the model even if it fails gate 1; None leaves the verdict to the gate.

    Returns:
        The pipeline, for any TFX runner.

    Example:
        >>> records = describe("gs://bucket/records")  # pipeline.run.ingest
        >>> config = load_config("conf/local.yaml").with_records(records)
        >>> tfx.orchestration.LocalDagRunner().run(create_pipeline(config))
    """
    records = config.records
    settings = training_settings(config)

    examples = tfx.components.ImportExampleGen(
        input_base=records.path,
        input_config=tfx.proto.Input(
            splits=[tfx.proto.Input.Split(name=s, pattern=p) for s, p in records.patterns.items()]
        ),
    )
    statistics = tfx.components.StatisticsGen(
        examples=examples.outputs["examples"],
        # Counting distinct encoded images would take most of the time.
        stats_options=tfdv.StatsOptions(
            feature_allowlist=[name for name in records.features if name != IMAGE]
        ),
    )
    schema = RecordSchema(
        statistics=statistics.outputs["statistics"],
        known=text_format.MessageToString(known_layout(len(records.labels), records.features)),
    )
    validator = StrictExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    ).with_id("ExampleValidator")
    transform = tfx.components.Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="models.preprocessing.preprocessing_fn",
        splits_config=tfx.proto.SplitsConfig(
            analyze=["train"],
            transform=(
                list(records.patterns)
                if cross_validation.needs_test_images(config)
                else ["train", "validation"]
            ),
        ),
        custom_config={
            "image_size": config.model.image_size,
            # TFX's cache ignores code behind a dotted path; the digest invalidates it on edits.
            "code": settings_digest(
                [file_digest(_MODELS / name) for name in ("features.py", "preprocessing.py")]
            ),
        },
        disable_statistics=True,
    )
    transform.add_upstream_node(validator)
    trainer = placement.trainer(config)(
        run_fn="models.trainer.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["validation"]),
        custom_config=settings,
    )
    cross_validator = None
    if cross_validation.is_enabled(config):
        cross_validator = cross_validation.create(
            transform.outputs["transformed_examples"], settings
        )
        cross_validator.add_upstream_node(trainer)  # it reuses the features that the Trainer caches
    baseline = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("LatestBlessedModel")
    evaluator = RecordingEvaluator(
        examples=examples.outputs["examples"],
        example_splits=[records.held_out],
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs["model"],
        eval_config=eval_config(config.gate, len(records.labels)),
        module_path=extractors.__name__,
    ).with_id("Evaluator")
    del evaluator.outputs["blessing"]  # meaningless without thresholds: QualityGate blesses
    quality_gate = gate_1.create(
        evaluator,
        trainer.outputs["model"],
        config,
        override,
        cross_validator and cross_validator.outputs["evaluation"],
    )
    serving_check = gate_2.create(trainer.outputs["model"], examples.outputs["examples"], config)
    pusher = BlessedPusher(
        model=trainer.outputs["model"],
        model_blessing=quality_gate.outputs["blessing"],
        infra_blessing=serving_check.outputs["blessing"],
        options=config.push,
        folder=placement.serving(config),
        cache_nonce=cache_nonce,
    ).with_id("Pusher")
    return tfx.dsl.Pipeline(
        pipeline_name=config.name,
        pipeline_root=placement.artifacts(config),
        components=[
            examples,
            statistics,
            schema,
            validator,
            transform,
            trainer,
            baseline,
            evaluator,
            *([cross_validator] if cross_validator else []),
            quality_gate,
            serving_check,
            pusher,
        ],
        metadata_connection_config=_metadata(config),
        enable_cache=config.enable_cache,
        beam_pipeline_args=placement.beam_arguments(config),
    )


def training_settings(config: RunConfig) -> dict[str, Any]:
    """Returns the `custom_config` of the Trainer, which `models.trainer.run_fn` reads."""
    weights = registry.find_weights(config.model.name, config.model.arguments)
    shaping: dict[str, Any] = {
        "labels": list(config.records.labels),
        "image_size": config.model.image_size,
        "model": {"name": config.model.name, **config.model.arguments},
        "trainer": dataclasses.asdict(config.trainer),
    }
    if weights:
        # The preset depends on the machines; in the settings, it is part of the cache key.
        shaping["trainer"]["preset"] = placement.preset(config)
    provenance: dict[str, Any] = {
        "config_digest": settings_digest(shaping),
        "data_digest": config.records.digest,
    }
    if weights:
        provenance |= {"weights_digest": weights.sha256, "weights": weights.description()}
    return {
        **shaping,
        "wandb": dataclasses.asdict(config.wandb),
        "counts": {
            "train": sum(config.records.counts["train"].values()),
            "eval": sum(config.records.counts["validation"].values()),
        },
        "label_counts": config.records.counts["train"],
        "features_dir": placement.features(config),
        "provenance": provenance,
        "store": store_identity(config.root),
        # TFX's cache ignores code behind a dotted path; the digest invalidates it on edits.
        "code": folder_digest(_MODELS, "*.py"),
        **placement.training_job(config),
    }


def _metadata(config: Config) -> Any:
    """Connection to ML Metadata; None for a remote root, whose orchestrator has its own store."""
    if "://" in config.root:
        return None
    file = placement.metadata_file(config)
    return tfx.orchestration.metadata.sqlite_metadata_connection_config(str(file))
