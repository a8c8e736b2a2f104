"""TFX's executors for Google Cloud: the jobs that they start carry the name of their run.

Known only as they work: in the compiled spec it would be another spec, and the cache would miss.
"""

from tfx.components.example_gen.import_example_gen import executor as example_gen
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.components.transform import executor as transform
from tfx.dsl.components.base.base_executor import BaseExecutor
from tfx.extensions.google_cloud_ai_platform.trainer import executor as trainer
from tfx.utils import json_utils

from pipeline.cloud import dataflow, jobs
from pipeline.components import evaluator


def run_of(context: BaseExecutor.Context) -> str:
    """The id of the run that an executor works for."""
    if context.pipeline_run_id:  # orchestrated from here
        return f"{context.pipeline_info.id}-{context.pipeline_run_id}"
    # On Vertex AI TFX tells no more than this: ROOT/<project number>/<run>/<task>/.temp/<task>.
    return context.get_tmp_path().partition("/.temp/")[0].split("/")[-2]


class _OnDataflow:
    """Names the job, and tells in words what went wrong with it."""

    def __init__(self, context: BaseExecutor.Context):
        super().__init__(context)
        run = run_of(context)
        self._beam_pipeline_args = [
            *self._beam_pipeline_args,
            f"--job_name={jobs.name_on_dataflow(type(self).__name__, run)}",
            f"--labels={jobs.LABEL}={jobs.label(run)}",
        ]

    def Do(self, input_dict, output_dict, exec_properties):
        """Does the component's work."""
        with dataflow.translate_errors():
            return super().Do(input_dict, output_dict, exec_properties)


class ImportExampleGen(_OnDataflow, example_gen.Executor):
    """From records to examples."""


class StatisticsGen(_OnDataflow, statistics_gen.Executor):
    """From examples to statistics."""


class Transform(_OnDataflow, transform.Executor):
    """From examples to transformed examples."""


class Evaluator(_OnDataflow, evaluator.EvaluatorExecutor):
    """From a model and examples to metrics."""


class Trainer(trainer.GenericExecutor):
    """Has a Vertex AI custom job do the training."""

    def __init__(self, context: BaseExecutor.Context):
        super().__init__(context)
        self._run = run_of(context)

    def Do(self, input_dict, output_dict, exec_properties):
        """Starts the job and waits for its end; raises RuntimeError where it fails."""
        settings = json_utils.loads(exec_properties["custom_config"])
        settings[trainer.TRAINING_ARGS_KEY]["labels"][jobs.LABEL] = jobs.label(self._run)
        labelled = {**exec_properties, "custom_config": json_utils.dumps(settings)}
        return super().Do(input_dict, output_dict, labelled)
