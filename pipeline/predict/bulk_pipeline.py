"""The pipeline of a bulk prediction."""

from tfx import v1 as tfx

from pipeline import placement
from pipeline.components.bulk_inferrer import StringsBulkInferrer
from pipeline.config.schema import Config
from pipeline.predict.photo_folder import PATTERN, UnlabelledRecords

INFERENCE = "BulkInferrer"
_SPLIT = "unlabelled"


def create_prediction_pipeline(
    config: Config, photos: UnlabelledRecords, model_uri: str
) -> tfx.dsl.Pipeline:
    """Creates the pipeline that predicts records of unlabelled photos.

    Args:
        config: Config of the root that the model comes from; its metadata store records the run.
        photos: Records to predict.
        model_uri: URI of the Model artifact.
    """
    examples = tfx.components.ImportExampleGen(
        input_base=photos.folder,
        input_config=tfx.proto.Input(splits=[tfx.proto.Input.Split(name=_SPLIT, pattern=PATTERN)]),
        # Explicit: by default, ExampleGen divides a single split into train and eval.
        output_config=tfx.proto.Output(
            split_config=tfx.proto.SplitConfig(
                splits=[tfx.proto.SplitConfig.Split(name=_SPLIT, hash_buckets=1)]
            )
        ),
    ).with_id("UnlabelledPhotos")
    model = tfx.dsl.Importer(
        source_uri=model_uri, artifact_type=tfx.types.standard_artifacts.Model
    ).with_id("PushedModel")
    inferrer = StringsBulkInferrer(
        examples=examples.outputs["examples"],
        model=model.outputs["result"],
        model_spec=tfx.proto.ModelSpec(model_signature_name=["serving_default"]),
    ).with_id(INFERENCE)
    return tfx.dsl.Pipeline(
        pipeline_name=f"{config.name}-predict",
        pipeline_root=placement.artifacts(config),
        components=[examples, model, inferrer],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(placement.metadata_file(config))
        ),
        enable_cache=config.enable_cache,
        beam_pipeline_args=placement.beam_arguments(config),
    )
