"""The extractors that run before the Evaluator's metrics."""

import numpy as np
import pyarrow as pa
import pytest
import tensorflow_model_analysis as tfma

from pipeline.gate import extractors


@pytest.mark.parametrize("models", [(), ("candidate", "baseline")])
def test_drop_images_releases_the_memory_of_the_decoded_batch(models):
    before = pa.total_allocated_bytes()
    columns = {name: pa.array(range(1000)).cast(pa.int32()) for name in ("label", "image_height")}
    views = {name: column.to_numpy() for name, column in columns.items()}
    extracts = {
        tfma.FEATURES_KEY: {**views, "image_width": views["image_height"], "image": b"pixels"},
        tfma.LABELS_KEY: dict.fromkeys(models, views["label"]) or views["label"],
    }
    kept = extractors.drop_images(extracts, ["image_size[500]"])
    del columns, views, extracts
    assert pa.total_allocated_bytes() == before
    features = kept[tfma.FEATURES_KEY]
    assert sorted(features) == ["image_height", "image_size[500]", "image_width", "label"]
    assert features["image_size[500]"][499:501].tolist() == [["below 500"], ["500 and more"]]
    labels = kept[tfma.LABELS_KEY]
    assert np.array_equal(labels["baseline"] if models else labels, range(1000))


def saved_model(folder, name, labels):
    """TFMA's reference to a model, with or without label names."""
    if labels is not None:
        (folder / name / "assets").mkdir(parents=True)
        (folder / name / "assets" / "labels.txt").write_text("".join(f"{x}\n" for x in labels))
    return tfma.types.EvalSharedModel(model_path=str(folder / name), model_name=name)


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        (["cat", "dog", "bear"], [[0.5, 0.3, 0.2]]),
        (["bear", "cat", "dog"], [[0.3, 0.2, 0.5]]),
        (["dog", "cat"], [[0.3, 0.5, 0.0]]),
        (["owl", "dog", "cat", "fox"], [[0.2, 0.3, 0.0]]),
        (None, [[0.5, 0.3, 0.2]]),
    ],
)
def test_the_baseline_is_aligned_by_label_name(baseline, expected, tmp_path):
    models = [
        saved_model(tmp_path, "candidate", ["cat", "dog", "bear"]),
        saved_model(tmp_path, "baseline", baseline),
    ]
    columns = extractors.baseline_columns(models)
    its = {"probabilities": np.array([[0.5, 0.3, 0.2, 0.0]])[:, : len(baseline or "123")]}
    extracts = {tfma.PREDICTIONS_KEY: {"candidate": {"probabilities": "kept"}, "baseline": its}}
    aligned = extractors.align_baseline(extracts, columns)[tfma.PREDICTIONS_KEY]
    assert aligned["baseline"]["probabilities"].tolist() == expected
    assert aligned["candidate"] == {"probabilities": "kept"}
