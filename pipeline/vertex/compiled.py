"""The Vertex AI pipeline spec (schema 2.1) of the very pipeline that runs locally."""

import json
from pathlib import Path

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx import v1 as tfx

from pipeline import placement
from pipeline.config.gate import Override
from pipeline.config.schema import Config
from pipeline.pipeline import create_pipeline

SCHEMA = "2.1.0"


def compile_pipeline(
    config: Config, cache_nonce: str = "", override: Override | None = None
) -> dict:
    """The PipelineJob as JSON: `pipelineSpec`, `runtimeConfig`, `displayName`, `labels`.

    Args:
        config: with `cloud` and `records` filled in.
        cache_nonce: see `create_pipeline`.
        override: see `create_pipeline`.

    Raises:
        google.protobuf.json_format.ParseError: the spec is not one of the schema.
    """
    runner = tfx.orchestration.experimental.KubeflowV2DagRunner(
        tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(
            display_name=config.name,
            default_image=config.cloud.image,
            # In 2.0 the results of ExampleGen's driver do not reach its executor.
            use_pipeline_spec_2_1=True,
        )
    )
    # Nothing of this machine enters the spec: another one's is equal, and finds the same cache.
    config = config.model_copy(update={"root": f"{config.cloud.address}/{config.name}"})
    pipeline = placement.name_jobs(config, create_pipeline(config, cache_nonce, override))
    job = runner.run(pipeline, write_out=False)
    check(job)
    return job


def check(job: dict) -> None:
    """Parses the spec with the proto of its schema.

    Raises:
        google.protobuf.json_format.ParseError: it is not one.
    """
    spec = json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    if spec.schema_version != SCHEMA:
        raise json_format.ParseError(f"schema {spec.schema_version}, expected {SCHEMA}")
    json_format.ParseDict(
        job["pipelineSpec"]["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig()
    )


def write(job: dict, path: str | Path) -> None:
    """Writes the spec as the file that Vertex AI's console and client take."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(job, indent=1, sort_keys=True) + "\n")
    partial.replace(path)
