"""What an evaluation keeps of its examples."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow_model_analysis as tfma

from pipeline.gate import slicing


@pytest.mark.parametrize("models", [(), ("candidate", "baseline")])
def test_measured_examples_let_go_of_the_memory_that_they_were_decoded_into(models):
    before = pa.total_allocated_bytes()
    columns = {name: pa.array(range(1000)).cast(pa.int32()) for name in ("label", "image_height")}
    views = {name: column.to_numpy() for name, column in columns.items()}
    extracts = {
        tfma.FEATURES_KEY: {**views, "image_width": views["image_height"], "image": b"pixels"},
        tfma.LABELS_KEY: dict.fromkeys(models, views["label"]) or views["label"],
    }
    kept = slicing._derive(extracts, ["image_size[500]"])
    del columns, views, extracts
    assert pa.total_allocated_bytes() == before
    features = kept[tfma.FEATURES_KEY]
    assert sorted(features) == ["image_height", "image_size[500]", "image_width", "label"]
    assert features["image_size[500]"][499:501].tolist() == [["below 500"], ["500 and more"]]
    labels = kept[tfma.LABELS_KEY]
    assert np.array_equal(labels["baseline"] if models else labels, range(1000))
