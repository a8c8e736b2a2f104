"""TFX's executors for Google Cloud, which name their jobs after the run.

The run is set at run time: putting its id into the compiled spec would change the spec and defeat
the cache.
"""

from typing import Any

from tfx import types
from tfx.components.example_gen.import_example_gen import executor as example_gen
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.components.transform import executor as transform
from tfx.dsl.components.base import base_beam_executor, base_executor
from tfx.extensions.google_cloud_ai_platform.trainer import executor as trainer
from tfx.proto.orchestration import execution_result_pb2
from tfx.utils import json_utils

from pipeline.cloud import dataflow, jobs
from pipeline.components import evaluator


def run_of(context: base_executor.BaseExecutor.Context) -> str:
    """Returns the id of the run of an executor."""
    if context.pipeline_run_id:  # orchestrated locally
        return f"{context.pipeline_info.id}-{context.pipeline_run_id}"
    # On Vertex AI the path has it: ROOT/<project number>/<run>/<task>/.temp/<task>.
    return context.get_tmp_path().partition("/.temp/")[0].split("/")[-2]


class _DataflowExecutor(base_beam_executor.BaseBeamExecutor):
    """Names the Dataflow job after the run and translates its errors."""

    _beam_pipeline_args: list[str]

    def __init__(self, context: base_executor.BaseExecutor.Context):
        super().__init__(context)
        run = run_of(context)
        self._beam_pipeline_args = [
            *self._beam_pipeline_args,
            f"--job_name={jobs.dataflow_job_name(type(self).__name__, run)}",
            f"--labels={jobs.LABEL}={jobs.label_value(run)}",
        ]

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> execution_result_pb2.ExecutorOutput | None:
        """Runs the component; raises CloudError if its Dataflow job fails."""
        with dataflow.translate_errors():
            return super().Do(input_dict, output_dict, exec_properties)


class ImportExampleGen(_DataflowExecutor, example_gen.Executor):
    """ImportExampleGen as a Dataflow job."""


class StatisticsGen(_DataflowExecutor, statistics_gen.Executor):
    """StatisticsGen as a Dataflow job."""


class Transform(_DataflowExecutor, transform.Executor):
    """Transform as a Dataflow job."""


class Evaluator(_DataflowExecutor, evaluator.EvaluatorExecutor):
    """Evaluator as a Dataflow job."""


class Trainer(trainer.GenericExecutor):
    """Trains the model in a Vertex AI custom job."""

    def __init__(self, context: base_executor.BaseExecutor.Context):
        super().__init__(context)
        self._run = run_of(context)

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> execution_result_pb2.ExecutorOutput | None:
        """Starts the job and waits for it; raises RuntimeError if it fails."""
        settings = json_utils.loads(exec_properties["custom_config"])
        settings[trainer.TRAINING_ARGS_KEY]["labels"][jobs.LABEL] = jobs.label_value(self._run)
        labelled = {**exec_properties, "custom_config": json_utils.dumps(settings)}
        return super().Do(input_dict, output_dict, labelled)
