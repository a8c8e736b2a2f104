"""Stops the run if the records do not match their schema."""

from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx import v1 as tfx
from tfx.components.example_validator import executor as tfx_validator
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs

from data.record import records

_FIXES = {
    records.LABEL: "this split has a label that train does not have, or its records were written "
    "with another label order: give every split the same labels, or convert the photos again",
    records.IMAGE_CHANNELS: "images must have 1 to 4 channels: convert the photos again",
}
_FIX = (
    "inspect the records with `python -m data inspect`, correct the photos and convert them again"
)


class AnomaliesError(ValueError):
    """The records have anomalies; the message names each split, feature and fix."""


def explain(split: str, anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """Returns a line per anomaly: split, feature, description and fix."""
    lines = [
        f"split {split}, feature {name}: {info.description} Fix: {_FIXES.get(name, _FIX)}."
        for name, info in sorted(anomalies.anomaly_info.items())
    ]
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(f"split {split}: {anomalies.dataset_anomaly_info.description} Fix: {_FIX}.")
    return lines


class _Executor(tfx_validator.Executor):
    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
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
    """TFX's ExampleValidator, which raises `AnomaliesError` instead of only writing anomalies.

    The failure stops the run before a model is trained on such records.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(_Executor)
