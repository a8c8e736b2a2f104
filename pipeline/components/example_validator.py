"""Stops the run when the records disagree with their schema."""

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import v1 as tfx
from tfx.components.example_validator import executor as tfx_validator
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs

_FIXES = {
    "label": "the photos of this split carry a label that train does not have, or a record was "
    "written with another label order: give every split the same labels, or convert again",
    "image_channels": "only images of 1 to 4 channels can be read: convert the photos again",
}
_FIX = "look at the records with `python -m data inspect`, mend the source and convert again"


class AnomaliesError(ValueError):
    """The records have anomalies; the message names each feature, its split and what to do."""


def explain(split: str, anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """One line an anomaly: split, feature, what is wrong, the fix."""
    lines = [
        f"split {split}, feature {name}: {info.description} Fix: {_FIXES.get(name, _FIX)}."
        for name, info in sorted(anomalies.anomaly_info.items())
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(f"split {split}: {anomalies.dataset_anomaly_info.description} Fix: {_FIX}.")
    return lines


class _Executor(tfx_validator.Executor):
    def Do(self, input_dict, output_dict, exec_properties):
        super().Do(input_dict, output_dict, exec_properties)
        artifact = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.ANOMALIES_KEY]
        )
        lines = []
        for split in artifact_utils.decode_split_names(artifact.split_names):
            path = f"{artifact.uri}/Split-{split}/SchemaDiff.pb"
            with tfx.dsl.io.fileio.open(path, "rb") as file:
                lines += explain(split, anomalies_pb2.Anomalies.FromString(file.read()))
        if lines:
            raise AnomaliesError("\n".join(["the records have anomalies", *lines]))


class StrictExampleValidator(tfx.components.ExampleValidator):
    """TFX's ExampleValidator, which fails where the original only writes down what it found.

    Its failure is an `AnomaliesError`, so that nothing is trained on such records.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)
