import tensorflow as tf
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2

from pipeline.components.example_validator import explain
from pipeline.components.record_schema import known_layout, with_extra_columns

FEATURES = (
    "image",
    "image_height",
    "image_width",
    "image_channels",
    "label",
    "image_name",
    "split",
)


def statistics(tmp_path, **changes):
    """Returns statistics of three records without pixels, as the pipeline computes them."""
    path = str(tmp_path / "records")
    values = {
        "image_height": 8,
        "image_width": 8,
        "image_channels": 3,
        "label": 1,
        "image_name": b"a.jpg",
        "split": b"TRAIN",
    } | changes
    features = {}
    for name, value in values.items():
        if isinstance(value, bytes):
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        else:
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    record = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    with tf.io.TFRecordWriter(path) as writer:
        for _ in range(3):
            writer.write(record)
    return tfdv.generate_statistics_from_tfrecord(path)


def test_valid_records_have_no_anomalies_without_pixels_in_the_statistics(tmp_path):
    found = tfdv.validate_statistics(statistics(tmp_path), known_layout(2, FEATURES))
    assert explain("train", found) == []


def test_an_anomaly_names_feature_split_and_fix(tmp_path):
    wrong = statistics(tmp_path, label=7, image_channels=9)
    found = tfdv.validate_statistics(wrong, known_layout(2, FEATURES))
    lines = explain("validation", found)
    assert len(lines) == 2
    assert all(line.startswith("split validation, feature ") for line in lines)
    assert any("feature label" in line and "same labels" in line for line in lines)
    assert any("feature image_channels" in line and "Fix:" in line for line in lines)


def test_extra_columns_are_inferred_and_every_feature_is_dense(tmp_path):
    inferred = tfdv.infer_schema(statistics(tmp_path, age=4), infer_feature_shape=True)
    schema = with_extra_columns(known_layout(2, FEATURES), inferred)
    by_name = {feature.name: feature for feature in schema.feature}
    assert set(by_name) == {*FEATURES, "age"}
    assert by_name["age"].type == schema_pb2.INT
    assert by_name["label"].int_domain.max == 1, "the known layout is kept"
    stated = schema.tensor_representation_group[""].tensor_representation
    assert set(stated) == {*FEATURES, "age"}
    assert all(stated[name].HasField("dense_tensor") for name in stated)


def test_a_new_value_of_a_text_column_is_not_an_anomaly(tmp_path):
    train = statistics(tmp_path, site=b"Oslo")
    inferred = tfdv.infer_schema(train, infer_feature_shape=True)
    assert inferred.string_domain, "otherwise the test shows nothing"
    schema = with_extra_columns(known_layout(2, FEATURES), inferred)
    found = tfdv.validate_statistics(statistics(tmp_path, site=b"Rome"), schema)
    assert explain("test", found) == []
    missing = tfdv.validate_statistics(statistics(tmp_path), schema)
    assert "feature site" in explain("test", missing)[0], "the column is still required"
