"""The CSV file of a bulk prediction."""

import csv

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from data.record import records, tfrecord
from pipeline.predict.photo_folder import ROW
from pipeline.predict.results import write_predictions


def test_formulas_are_escaped(tmp_path):
    log = prediction_log_pb2.PredictionLog()
    asked = log.predict_log.request.inputs["examples"]
    asked.CopyFrom(tf.make_tensor_proto([records.serialize({ROW: 0})]))
    outputs = log.predict_log.response.outputs
    outputs["label"].CopyFrom(tf.make_tensor_proto(["=cat"]))
    outputs["probabilities"].CopyFrom(tf.make_tensor_proto([[0.75, 0.25]]))
    with (tmp_path / "prediction_logs-00000").open("wb") as stream:
        tfrecord.write(stream, log.SerializeToString())

    file = tmp_path / "predictions.csv"
    assert write_predictions(str(tmp_path), ["@photo.jpg"], ["=cat", "dog"], file) == ["=cat"]
    with file.open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert row == {
        "path": "'@photo.jpg",
        "label": "'=cat",
        "probability_=cat": "0.75",
        "probability_dog": "0.25",
    }
