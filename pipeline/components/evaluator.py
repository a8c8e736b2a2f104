"""TFX's Evaluator and InfraValidator, which also record which SavedModel they judged."""

from tfx import v1 as tfx
from tfx.components.evaluator import executor as tfx_evaluator
from tfx.components.infra_validator import executor as tfx_validator
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import path_utils

from pipeline.artifacts import saved_model


class _Recording:
    """Records the digest of the input `model` on the output artifact `output_key`."""

    output_key: str

    def Do(self, input_dict, output_dict, exec_properties):
        model = artifact_utils.get_single_instance(input_dict[standard_component_specs.MODEL_KEY])
        # Taken before the model is judged: a model that changes meanwhile has another digest.
        digest = saved_model.model_digest(path_utils.serving_model_path(model.uri))
        super().Do(input_dict, output_dict, exec_properties)
        judgement = artifact_utils.get_single_instance(output_dict[self.output_key])
        judgement.set_string_custom_property(saved_model.DIGEST, digest)


class EvaluatorExecutor(_Recording, tfx_evaluator.Executor):
    """Measures a model and records its digest on the evaluation."""

    output_key = standard_component_specs.EVALUATION_KEY


class _InfraValidatorExecutor(_Recording, tfx_validator.Executor):
    output_key = standard_component_specs.BLESSING_KEY


class RecordingEvaluator(tfx.components.Evaluator):
    """TFX's Evaluator; its evaluation carries the digest of the SavedModel as `model_digest`."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(EvaluatorExecutor)


class RecordingInfraValidator(tfx.components.InfraValidator):
    """TFX's InfraValidator; its blessing carries the digest of the SavedModel as `model_digest`."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_InfraValidatorExecutor)
