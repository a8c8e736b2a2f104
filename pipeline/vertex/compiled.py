"""Compiles the pipeline of the local run to a Vertex AI pipeline spec (schema 2.1)."""

import json
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx import v1 as tfx

from pipeline import placement
from pipeline.cloud import resources
from pipeline.config.gate import Override
from pipeline.config.schema import RunConfig
from pipeline.pipeline import create_pipeline

SCHEMA = "2.1.0"


def compile_pipeline(
    config: RunConfig, cache_nonce: str = "", override: Override | None = None
) -> dict[str, Any]:
    """Compiles the pipeline to a PipelineJob.

    Args:
        config: with `cloud` and `records` filled in.
        cache_nonce: see `create_pipeline`.
        override: see `create_pipeline`.

    Returns:
        The PipelineJob as JSON: `pipelineSpec`, `runtimeConfig`, `displayName`, `labels`.

    Raises:
        google.protobuf.json_format.ParseError: the spec does not match the schema.
    """
    runner = tfx.orchestration.experimental.KubeflowV2DagRunner(
        tfx.orchestration.experimental.KubeflowV2DagRunnerConfig(
            display_name=config.name,
            default_image=resources.cloud_section(config).image,
            # In 2.0 the outputs of ExampleGen's driver do not reach its executor.
            use_pipeline_spec_2_1=True,
        )
    )
    # Local paths in the spec would change its cache keys from machine to machine.
    config = config.model_copy(update={"root": resources.home(config)})
    pipeline = placement.name_jobs(config, create_pipeline(config, cache_nonce, override))
    job: dict[str, Any] = runner.run(pipeline, write_out=False)
    check(job)
    return job


def check(job: dict[str, Any]) -> None:
    """Parses the spec with the protos of its schema.

    Raises:
        google.protobuf.json_format.ParseError: the spec does not match the schema.
    """
    spec = json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    if spec.schema_version != SCHEMA:
        raise json_format.ParseError(f"schema {spec.schema_version}; expected {SCHEMA}")
    json_format.ParseDict(
        job["pipelineSpec"]["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig()
    )


def write(job: dict[str, Any], path: str | Path) -> None:
    """Writes the job as the JSON file that Vertex AI's console and client read."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(job, indent=1, sort_keys=True) + "\n")
    partial.replace(path)
