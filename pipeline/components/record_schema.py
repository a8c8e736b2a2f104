"""The schema of the records: fixed for TFRecorder's features, inferred for additional columns."""

import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import v1 as tfx
from tfx_bsl.tfxio.tensor_representation_util import (
    InferTensorRepresentationsFromMixedSchema as infer_representations,
)

from data.record import records

SCHEMA_FILE = "schema.pbtxt"


def known_layout(classes: int, features: tuple[str, ...]) -> schema_pb2.Schema:
    """Returns the schema of those `features` that belong to TFRecorder's layout.

    Args:
        classes: number of labels; a `label` outside [0, classes) is an anomaly.
        features: names of the features in the records.

    Example:
        >>> [feature.name for feature in known_layout(2, ("image", "label", "camera")).feature]
        ['image', 'label']
    """
    schema = schema_pb2.Schema()
    for name in features:
        if name == records.IMAGE:
            _add(schema, name, schema_pb2.BYTES, in_statistics=False)
        elif name in (records.IMAGE_HEIGHT, records.IMAGE_WIDTH):
            _add(schema, name, schema_pb2.INT).int_domain.min = 1
        elif name == records.IMAGE_CHANNELS:
            _add(schema, name, schema_pb2.INT).int_domain.CopyFrom(_integers(1, 4))
        elif name == records.LABEL:
            label = _integers(0, classes - 1)
            label.is_categorical = True
            _add(schema, name, schema_pb2.INT).int_domain.CopyFrom(label)
        elif name in (records.IMAGE_NAME, records.IMAGE_ENCODING, records.SPLIT):
            _add(schema, name, schema_pb2.BYTES)
    return schema


def with_extra_columns(known: schema_pb2.Schema, inferred: schema_pb2.Schema) -> schema_pb2.Schema:
    """Returns `known` plus the features that only `inferred` has, with tensor representations."""
    schema = schema_pb2.Schema()
    schema.CopyFrom(known)
    names = {feature.name for feature in known.feature}
    extra = [feature for feature in inferred.feature if feature.name not in names]
    for feature in extra:
        # A value that train does not have, such as a new camera, is not an anomaly.
        feature.ClearField("domain")
        feature.ClearField("distribution_constraints")
    schema.feature.extend(extra)
    # If a schema has one representation, as for the pixels, readers do not infer the others.
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
) -> None:
    """Writes the schema of the records.

    Args:
        statistics: statistics of the examples; extra columns are inferred from the split `train`.
        known: schema of the known layout in text format, see `known_layout`.
        schema: receives `schema.pbtxt`.
    """
    train = tfdv.load_stats_binary(f"{statistics.uri}/Split-train/FeatureStats.pb")
    complete = with_extra_columns(
        text_format.Parse(known, schema_pb2.Schema()),
        tfdv.infer_schema(train, infer_feature_shape=True),
    )
    with tfx.dsl.io.fileio.open(f"{schema.uri}/{SCHEMA_FILE}", "w") as file:
        file.write(text_format.MessageToString(complete))


def _add(
    schema: schema_pb2.Schema,
    name: str,
    feature_type: schema_pb2.FeatureType,
    in_statistics: bool = True,
) -> schema_pb2.Feature:
    """Adds a feature with exactly one value in every record.

    The statistics omit the pixels. With a required presence the validator would report them as
    missing, so their presence is optional and a dense tensor representation is set explicitly.
    """
    feature = schema.feature.add(name=name, type=feature_type)
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
