"""TFX's Evaluator and InfraValidator, which also record the digest of the SavedModel."""

from typing import Any

from tfx import types
from tfx import v1 as tfx
from tfx.components.evaluator import executor as tfx_evaluator
from tfx.components.infra_validator import executor as tfx_validator
from tfx.dsl.components.base import base_executor, executor_spec
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import path_utils

from pipeline.artifacts import saved_model


class _DigestRecorder(base_executor.BaseExecutor):
    """Records the digest of the input `model` on the output artifact `output_key`."""

    output_key: str

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        # Computed first: a model that changes during the evaluation then has another digest.
        digest = saved_model.model_digest(path_utils.serving_model_path(model.uri))
        super().Do(input_dict, output_dict, exec_properties)
        output = artifact_utils.get_single_instance(output_dict[self.output_key])
        output.set_string_custom_property(saved_model.DIGEST, digest)


class EvaluatorExecutor(_DigestRecorder, tfx_evaluator.Executor):
    """Evaluates a model and records its digest on the evaluation."""

    output_key = standard_component_specs.EVALUATION_KEY


class _InfraValidatorExecutor(_DigestRecorder, tfx_validator.Executor):
    output_key = standard_component_specs.BLESSING_KEY


class RecordingEvaluator(tfx.components.Evaluator):
    """TFX's Evaluator; records the SavedModel's digest as `model_digest` of the evaluation."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(EvaluatorExecutor)


class RecordingInfraValidator(tfx.components.InfraValidator):
    """TFX's InfraValidator; records the SavedModel's digest as `model_digest` of the blessing."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_InfraValidatorExecutor)
