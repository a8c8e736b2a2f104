"""The schema of the records: given for the known layout, inferred for columns that a user added."""

import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import v1 as tfx
from tfx_bsl.tfxio.tensor_representation_util import (
    InferTensorRepresentationsFromMixedSchema as infer_representations,
)

PIXELS = "image"
SCHEMA_FILE = "schema.pbtxt"
_POSITIVE = ("image_height", "image_width")
_CHANNELS = "image_channels"
_LABEL = "label"
_TEXT = ("image_name", "split", "image_encoding")


def known_layout(classes: int, features: tuple[str, ...]) -> schema_pb2.Schema:
    """The schema of those `features` that belong to TFRecorder's layout.

    Args:
        classes: number of labels; a `label` outside [0, classes) is an anomaly.
        features: names of the features that the records have.
    """
    schema = schema_pb2.Schema()
    for name in features:
        if name == PIXELS:
            _add(schema, name, schema_pb2.BYTES, in_statistics=False)
        elif name in _POSITIVE:
            _add(schema, name, schema_pb2.INT).int_domain.min = 1
        elif name == _CHANNELS:
            _add(schema, name, schema_pb2.INT).int_domain.CopyFrom(_integers(1, 4))
        elif name == _LABEL:
            label = _integers(0, classes - 1)
            label.is_categorical = True
            _add(schema, name, schema_pb2.INT).int_domain.CopyFrom(label)
        elif name in _TEXT:
            _add(schema, name, schema_pb2.BYTES)
    return schema


def with_extra_columns(known: schema_pb2.Schema, inferred: schema_pb2.Schema) -> schema_pb2.Schema:
    """`known` plus the features that only `inferred` has, and how each is read as a tensor."""
    schema = schema_pb2.Schema()
    schema.CopyFrom(known)
    names = {feature.name for feature in known.feature}
    extra = [feature for feature in inferred.feature if feature.name not in names]
    for feature in extra:
        # Sites, patients or cameras that train does not have are no anomaly.
        feature.ClearField("domain")
        feature.ClearField("distribution_constraints")
    schema.feature.extend(extra)
    # Where one representation is stated, as for the pixels, readers infer no other.
    group = schema.tensor_representation_group[""].tensor_representation
    for name, inferred_representation in infer_representations(schema).items():
        if name not in group:
            group[name].CopyFrom(inferred_representation)
    return schema


@tfx.dsl.components.component
def RecordSchema(
    statistics: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ExampleStatistics],
    known: tfx.dsl.components.Parameter[str],
    schema: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Schema],
):
    """Writes the schema of the records.

    Args:
        statistics: of the split `train`, from which extra columns are inferred.
        known: the given part as text, see `known_layout`.
        schema: receives `schema.pbtxt`.
    """
    train = tfdv.load_stats_binary(f"{statistics.uri}/Split-train/FeatureStats.pb")
    complete = with_extra_columns(
        text_format.Parse(known, schema_pb2.Schema()),
        tfdv.infer_schema(train, infer_feature_shape=True),
    )
    with tfx.dsl.io.fileio.open(f"{schema.uri}/{SCHEMA_FILE}", "w") as file:
        file.write(text_format.MessageToString(complete))


def _add(schema, name, kind, in_statistics=True) -> schema_pb2.Feature:
    """A feature with exactly one value in every record.

    Pixels are left out of the statistics, so the validator must not miss them: no presence is
    asked of them, and that they are dense is stated instead of following from it.
    """
    feature = schema.feature.add(name=name, type=kind)
    if in_statistics:
        feature.presence.min_fraction = 1
        feature.shape.SetInParent()
    else:
        feature.value_count.min = feature.value_count.max = 1
        group = schema.tensor_representation_group[""].tensor_representation[name]
        group.dense_tensor.column_name = name
        group.dense_tensor.shape.SetInParent()
    return feature


def _integers(low: int, high: int) -> schema_pb2.IntDomain:
    return schema_pb2.IntDomain(min=low, max=high)
