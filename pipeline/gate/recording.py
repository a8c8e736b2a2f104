"""TFX's Evaluator and InfraValidator, which also record which SavedModel they judged."""

from tfx import v1 as tfx
from tfx.components.evaluator import executor as tfx_evaluator
from tfx.components.infra_validator import executor as tfx_validator
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import path_utils

from pipeline import saved_model


class EvaluatorExecutor(tfx_evaluator.Executor):
    """Measures a model and records its digest on the evaluation."""

    def Do(self, input_dict, output_dict, exec_properties):
        evaluation = output_dict[standard_component_specs.EVALUATION_KEY]
        digest = _digest(input_dict)
        super().Do(input_dict, output_dict, exec_properties)
        _record(evaluation, digest)


class _InfraValidatorExecutor(tfx_validator.Executor):
    def Do(self, input_dict, output_dict, exec_properties):
        blessing = output_dict[standard_component_specs.BLESSING_KEY]
        digest = _digest(input_dict)
        super().Do(input_dict, output_dict, exec_properties)
        _record(blessing, digest)


class RecordingEvaluator(tfx.components.Evaluator):
    """TFX's Evaluator; its evaluation carries the digest of the SavedModel as `model_digest`."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(EvaluatorExecutor)


class RecordingInfraValidator(tfx.components.InfraValidator):
    """TFX's InfraValidator; its blessing carries the digest of the SavedModel as `model_digest`."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_InfraValidatorExecutor)


def _digest(input_dict) -> str:
    """Of the model, before it is judged: one that changes meanwhile gets another digest."""
    model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
    return saved_model.model_digest(path_utils.serving_model_path(model.uri))


def _record(artifacts, digest: str) -> None:
    artifact_utils.get_single_instance(artifacts).set_string_custom_property(
        saved_model.DIGEST, digest
    )
