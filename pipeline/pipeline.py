"""The whole path, top to bottom, in the order in which the data flows."""

import dataclasses
from pathlib import Path

import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tfx import v1 as tfx

import models
from models import registry
from pipeline import placement
from pipeline.artifacts.digests import file_digest, folder_digest, settings_digest
from pipeline.components import cross_validation
from pipeline.components import quality_gate as gate_1
from pipeline.components import serving_check as gate_2
from pipeline.components.evaluator import RecordingEvaluator
from pipeline.components.example_validator import StrictExampleValidator
from pipeline.components.pusher import BlessedPusher
from pipeline.components.record_schema import PIXELS, RecordSchema, known_layout
from pipeline.config.gate import Override
from pipeline.config.schema import Config
from pipeline.gate import extractors
from pipeline.gate.evaluation import eval_config
from pipeline.metadata.store_identity import store_identity

_MODELS = Path(models.__file__).parent


def create_pipeline(
    config: Config, cache_nonce: str = "", override: Override | None = None
) -> tfx.dsl.Pipeline:
    """From TFRecords to a pushed model, on this machine or, with `config.cloud`, on Google Cloud.

    Args:
        config: with `records` filled in.
        cache_nonce: the answer of `Target.preflight`; another one keeps a push out of the cache.
        override: a blessing against the bounds of gate 1; None leaves it to them.
    """
    records = config.records
    settings = training_settings(config)
    cross_validated = cross_validation.is_wanted(config)

    examples = tfx.components.ImportExampleGen(
        input_base=records.path,
        input_config=tfx.proto.Input(
            splits=[tfx.proto.Input.Split(name=s, pattern=p) for s, p in records.patterns.items()]
        ),
    )
    statistics = tfx.components.StatisticsGen(
        examples=examples.outputs["examples"],
        # Counting distinct pixel strings costs most of the time and tells nothing.
        stats_options=tfdv.StatsOptions(
            feature_allowlist=[name for name in records.features if name != PIXELS]
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
            # Dotted paths hide the code from TFX's cache; its digest makes an edit count.
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
    all_photos = None
    if cross_validated:
        all_photos = cross_validation.create(transform.outputs["transformed_examples"], settings)
        all_photos.add_upstream_node(trainer)  # Which keeps the features that it computes.
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
    del evaluator.outputs["blessing"]  # Without thresholds it says nothing: QualityGate blesses.
    quality_gate = gate_1.create(
        evaluator,
        trainer.outputs["model"],
        config,
        override,
        all_photos and all_photos.outputs["evaluation"],
    )
    serving_check = gate_2.create(trainer.outputs["model"], examples.outputs["examples"], config)
    pusher = BlessedPusher(
        model=trainer.outputs["model"],
        model_blessing=quality_gate.outputs["blessing"],
        infra_blessing=serving_check.outputs["blessing"],
        options=config.push,
        folder=serving_folder(config),
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
            *([all_photos] if all_photos else []),
            quality_gate,
            serving_check,
            pusher,
        ],
        metadata_connection_config=_metadata(config),
        enable_cache=config.enable_cache,
        beam_pipeline_args=placement.beam_arguments(config),
    )


def training_settings(config: Config) -> dict:
    """What `models.trainer.run_fn` receives as `custom_config`."""
    weights = registry.find_weights(config.model.name, config.model.arguments)
    shaping = {
        "labels": list(config.records.labels),
        "image_size": config.model.image_size,
        "model": {"name": config.model.name, **config.model.arguments},
        "trainer": dataclasses.asdict(config.trainer),
    }
    if weights:
        # Resolved here, as it depends on the machines: a cached model is of the same preset.
        shaping["trainer"]["preset"] = placement.preset(config)
    provenance = {
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
        # Dotted paths hide the code from TFX's cache; its digest makes an edit count.
        "code": folder_digest(_MODELS, "*.py"),
        **placement.training_job(config),
    }


def metadata_file(config: Config) -> Path:
    """The SQLite file of ML Metadata."""
    return Path(config.root) / "metadata.sqlite"


def _metadata(config: Config):
    """ML Metadata's connection; None where the place that orchestrates has its own."""
    if "://" in config.root:
        return None
    return tfx.orchestration.metadata.sqlite_metadata_connection_config(str(metadata_file(config)))


def serving_folder(config: Config) -> str:
    """Where versions are pushed."""
    return placement.serving(config)
