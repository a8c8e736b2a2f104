"""Gate 1 on known predictions: the metrics that TFMA computes, and the outcome of the bounds."""

import math

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2
from tfx_bsl.arrow import table_util

from pipeline.config.gate import GateConfig
from pipeline.gate import extractors
from pipeline.gate.evaluation import eval_config
from pipeline.gate.measurements import Measurements
from pipeline.gate.verdict import apply_bounds
from tests.pipeline.gate.measurements import measurements_from_counts

LABELS = ("cat", "dog", "bear")
SIDES = [100, 128, 511, 512]


def predictions(labels, right, seed):
    """Random probabilities whose most probable label is the right one for the first `right`."""
    random = np.random.default_rng(seed)
    result = []
    for i, label in enumerate(labels):
        p = random.dirichlet([1, 1, 1])
        chosen = label if i < right else (label + 1) % 3
        best = p.argmax()
        p[[best, chosen]] = p[[chosen, best]]
        result.append(p.astype(np.float32))
    return result


@pytest.fixture(scope="module")
def examples():
    labels = [0, 1, 2] * 20
    # Right on the first 40 of 60, and on the first 50.
    table = {"candidate": predictions(labels, 40, 1), "baseline": predictions(labels, 50, 2)}
    return pd.DataFrame(
        {
            "label": labels,
            **table,
            "image_height": [SIDES[i % 4] for i in range(60)],
            "image_width": [50] * 60,
            "camera": [b"old" if i < 57 else b"new" for i in range(60)],
            # Dogs predicted as dogs, and a cat predicted as one.
            "lens": [
                b"tele" if i == 42 or (i < 40 and labels[i] == 1) else b"wide" for i in range(60)
            ],
        }
    )


def gate(*bounds, **settings):
    return GateConfig(bounds=bounds, slice_by=("label", "image_size", "camera", "lens"), **settings)


def measure(examples, folder, models=("candidate",), **settings):
    config = eval_config(gate({"metric": "loss", "max": 1}, **settings), len(LABELS))
    del config.model_specs[:]
    config.model_specs.extend(
        config_pb2.ModelSpec(
            name=name if len(models) > 1 else "",
            label_key="label",
            prediction_key=name,
            is_baseline=name == "baseline",
        )
        for name in models
    )
    batch = table_util.CanonicalizeRecordBatch(pa.RecordBatch.from_pandas(examples))
    with beam.Pipeline("FnApiRunner") as pipeline:
        _ = (
            pipeline
            | beam.Create([{tfma.ARROW_RECORD_BATCH_KEY: batch}])
            | tfma.ExtractEvaluateAndWriteResults(
                eval_config=config,
                extractors=extractors.custom_extractors(None, config, None),
                output_path=str(folder),
            )
        )
    return Measurements(str(folder), LABELS)


@pytest.fixture(scope="module")
def alone(examples, tmp_path_factory):
    return measure(examples, tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def compared(examples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared")
    return measure(examples, folder, ("candidate", "baseline"), intervals="jackknife")


def value(measured, metric, label=None, where=()):
    return measured.get("candidate", metric, label, where).value


def test_metrics_match_the_predictions(alone, examples):
    labels, p = examples["label"].to_numpy(), np.stack(examples["candidate"])
    chosen = p.argmax(axis=1)
    counts = np.zeros([3, 3], int)
    np.add.at(counts, (labels, chosen), 1)
    assert alone.confusion() == counts.tolist()
    assert value(alone, "accuracy") == pytest.approx(40 / 60)
    assert value(alone, "loss") == pytest.approx(-np.log(p[range(60), labels]).mean(), rel=1e-4)
    areas = []
    for i, label in enumerate(LABELS):
        assert value(alone, "recall", label) == pytest.approx(counts[i, i] / counts[i].sum())
        assert value(alone, "precision", label) == pytest.approx(counts[i, i] / counts[:, i].sum())
        yes, no = p[labels == i, i], p[labels != i, i]
        areas.append((yes[:, None] > no[None]).mean())
    assert value(alone, "auc") == pytest.approx(np.mean(areas), abs=0.01)
    bins = np.minimum((p * 10).astype(int), 9)
    distances = [
        abs((p[bins[:, i] == b, i] - (labels[bins[:, i] == b] == i)).sum()) / 60
        for i in range(3)
        for b in range(10)
    ]
    assert value(alone, "calibration_error") == pytest.approx(sum(distances) / 3, abs=1e-3)
    assert sum(point["examples"] for point in alone.calibration()["cat"]) == 60


def test_slices_by_label_bucket_and_column(alone):
    found = alone.table()
    assert {name: row["example_count"] for name, row in found.items()} == {
        "overall": 60,
        **{f"label={label}": 20 for label in LABELS},
        "image_size=below 128": 15,
        "image_size=128 up to 512": 30,
        "image_size=512 and more": 15,
        "camera=old": 57,
        "camera=new": 3,
        "lens=tele": 14,
        "lens=wide": 46,
    }
    assert found["label=cat"]["accuracy"] == pytest.approx(value(alone, "recall", "cat"))
    assert "auc" not in found["label=cat"], "the slice has one label only"


def rows(measured, *bounds, **settings):
    return apply_bounds(measured, gate(*bounds, **settings), LABELS)


def test_every_bound_is_applied_in_every_slice_that_it_covers(alone):
    found = rows(
        alone,
        {"metric": "accuracy", "min": 0.6, "max": 0.65, "min_change": 0},
        {"metric": "accuracy", "slice_by": "label", "min": 0},
        {"metric": "recall", "label": "dog", "min": 0.99},
    )
    outcomes = [(r.metric, r.slice, r.bound, r.passed, r.note) for r in found]
    assert outcomes == [
        ("accuracy", "overall", ">= 0.6", True, None),
        ("accuracy", "overall", "<= 0.65", False, None),
        ("accuracy", "overall", "change >= 0", None, "no baseline yet"),
        *(("accuracy", f"label={label}", ">= 0", True, None) for label in LABELS),
        ("recall of dog", "overall", ">= 0.99", False, None),
    ]


def test_a_change_has_its_own_interval(compared):
    _, plain, confident = rows(
        compared,
        {"metric": "auc", "min": 0},
        {"metric": "accuracy", "min_change": -0.2},
        {"metric": "loss", "min_change": -100, "confident": True},
        intervals="jackknife",
    )
    assert plain.passed and plain.baseline == pytest.approx(50 / 60)
    low, high = plain.interval
    assert low < 40 / 60 - 50 / 60 < high and high - low < 0.6
    assert confident.bound == "change lower end >= -100" and confident.passed


def test_a_confident_bound_checks_the_worse_end_of_the_interval(compared):
    figure = compared.get("candidate", "accuracy", None, ())
    assert figure.interval[0] < figure.value < figure.interval[1]
    between = (figure.interval[0] + figure.value) / 2
    bound = {"metric": "accuracy", "min": between}
    assert rows(compared, bound)[0].passed
    asked = rows(compared, {**bound, "confident": True}, intervals="jackknife")[0]
    assert not asked.passed and asked.bound.startswith("lower end >= ")


def test_an_undefined_metric_fails_or_is_skipped_with_a_note(alone):
    no_such_slice = rows(alone, {"metric": "accuracy", "slice_by": "flash", "min": 0})
    assert [(r.slice, r.passed) for r in no_such_slice] == [("flash=any", False)]
    without_interval = rows(
        alone, {"metric": "loss", "max": 99, "confident": True}, intervals="jackknife"
    )
    assert without_interval[0].passed is False and "interval" in without_interval[0].note
    rates = [{"metric": metric, "slice_by": "lens", "min": 0} for metric in ("precision", "recall")]
    in_slice = {(r.metric, r.passed) for r in rows(alone, *rates) if r.slice == "lens=tele"}
    assert in_slice == {
        ("precision of cat", False),  # there is a cat, and no prediction is cat
        ("recall of cat", True),
        ("precision of dog", True),
        ("recall of dog", True),
        ("precision of bear", None),  # the slice has none
        ("recall of bear", None),
    }
    small = rows(alone, {"metric": "accuracy", "slice_by": "camera", "min": 1}, min_slice_size=10)
    assert {r.slice: r.passed for r in small} == {"camera=old": False, "camera=new": None}
    assert all(math.isfinite(v) for row in alone.table().values() for v in row.values())


CATS_AND_DOGS = ("cat", "dog")


def rows_from_counts(
    monkeypatch, candidate, *bounds, baseline=None, cross_validation=None, **settings
):
    """Rows of a model that is given by its confusion matrix [actual label][predicted label]."""
    measured = measurements_from_counts(monkeypatch, CATS_AND_DOGS, candidate, baseline)
    config = GateConfig(bounds=bounds, **settings)
    return apply_bounds(measured, config, CATS_AND_DOGS, cross_validation)


@pytest.mark.parametrize(
    ("errors", "passed"), [(0, True), (1, True), (2, True), (3, False)], ids=str
)
def test_a_tolerance_never_refuses_one_error_more_than_the_baseline(monkeypatch, errors, passed):
    _, change = rows_from_counts(
        monkeypatch,
        [[20 - errors, errors], [0, 20]],
        {"metric": "accuracy", "min": 0, "min_change": -0.02},
        baseline=[[19, 1], [0, 20]],
    )
    assert change.passed is passed
    assert change.bound == "change >= -0.02 or 1 photo of 40"


def test_a_tolerance_counts_the_photos_of_the_label(monkeypatch):
    rows = rows_from_counts(
        monkeypatch,
        [[7, 1], [2, 30]],
        {"metric": "recall", "min": 0, "min_change": -0.05},
        baseline=[[8, 0], [0, 32]],
    )
    changes = {row.metric: (row.bound, row.passed) for row in rows if row.kind == "change"}
    assert changes == {
        "recall of cat": ("change >= -0.05 or 1 photo of 8", True),
        "recall of dog": ("change >= -0.05", False),
    }


@pytest.mark.parametrize("bound", [{"min_change": 0}, {"min_change": -0.01, "confident": True}])
def test_one_photo_is_not_tolerated_without_tolerance_or_with_confident(monkeypatch, bound):
    rows = rows_from_counts(
        monkeypatch,
        [[19, 1], [0, 20]],
        {"metric": "loss", "max": 100},
        {"metric": "accuracy", **bound},
        baseline=[[20, 0], [0, 20]],
        intervals="jackknife" if "confident" in bound else None,
    )
    (change,) = [row for row in rows if row.kind == "change"]
    assert change.passed is False and "photo of" not in change.bound


def test_rounding_does_not_decide(monkeypatch):
    # In single precision 0.95 is less than 0.95, and 0.48 - 0.5 is less than -0.02.
    value, top = rows_from_counts(
        monkeypatch, [[19, 1], [1, 19]], {"metric": "accuracy", "min": 0.95, "max": 0.95}
    )
    assert value.passed and top.passed and value.value == 0.95
    _, change = rows_from_counts(
        monkeypatch,
        [[48, 52], [52, 48]],
        {"metric": "accuracy", "min": 0, "min_change": -0.02},
        baseline=[[50, 50], [50, 50]],
    )
    assert change.passed and change.bound == "change >= -0.02"


def test_shares_have_wilsons_interval_and_their_denominator(monkeypatch):
    rows = rows_from_counts(
        monkeypatch,
        [[8, 2], [0, 30]],
        {"metric": "accuracy", "min": 0},
        {"metric": "recall", "min": 0},
        {"metric": "precision", "min": 0},
    )
    photos = {row.metric: row.photos for row in rows}
    assert photos == {
        "accuracy": 40,
        "recall of cat": 10,
        "recall of dog": 30,
        "precision of cat": 8,
        "precision of dog": 32,
    }
    assert {row.examples for row in rows} == {40}
    assert rows[0].interval == pytest.approx((0.8350, 0.9862), abs=5e-5)
    assert rows[1].interval == pytest.approx((0.4902, 0.9433), abs=5e-5)


def test_confident_needs_no_intervals_for_shares(monkeypatch):
    bounds = [
        {"metric": metric, "min": 0.85, "confident": True}
        for metric in ("accuracy", "recall", "precision")
    ]
    rows = rows_from_counts(monkeypatch, [[19, 1], [1, 19]], *bounds)
    assert [row.passed for row in rows] == [False] * 5
    assert {row.bound for row in rows} == {"lower end >= 0.85"}
    assert rows_from_counts(monkeypatch, [[20, 0], [1, 19]], bounds[0])[0].passed


def test_slices_have_their_own_counts_and_intervals(alone, compared):
    where = (("lens", "tele"),)
    assert (alone.examples(where), alone.photos("recall", "dog", where)) == (14, 13)
    assert alone.photos("precision", "dog", where) == 14, "the cat is predicted as one"
    assert alone.labelled("bear", where) == 0
    figure = alone.get("candidate", "precision", "dog", where)
    assert figure.value == 13 / 14 and figure.interval == pytest.approx((0.6853, 0.9873), abs=5e-5)
    # TFMA's interval of a recall of 1, 13 of 13, has no width.
    without_error = compared.get("candidate", "recall", "dog", where)
    assert without_error.value == 1 and without_error.interval[0] < 0.8


def test_precision_and_recall_are_skipped_for_labels_with_few_photos(monkeypatch):
    rows = rows_from_counts(
        monkeypatch,
        [[1, 2], [0, 37]],
        {"metric": "recall", "min": 0.5},
        {"metric": "precision", "min": 0.5},
        min_slice_size=5,
    )
    note = "3 photos of the label, fewer than 5"
    assert [(row.metric, row.passed, row.note) for row in rows] == [
        ("recall of cat", None, note),
        ("recall of dog", True, None),
        ("precision of cat", None, note),
        ("precision of dog", True, None),
    ]
    # Without any photo the bound is not skipped: it fails.
    absent, _ = rows_from_counts(
        monkeypatch, [[0, 0], [0, 40]], {"metric": "recall", "min": 0.5}, min_slice_size=5
    )
    assert absent.passed is False and absent.note == "cannot be measured here"


@pytest.mark.parametrize(
    ("bound", "passed"),
    [
        ({"min": 0.95}, True),
        ({"min": 0.96}, False),
        ({"min": 0.95, "confident": True}, False),
        ({"min": 0.92, "confident": True}, True),
    ],
)
def test_a_bound_of_the_cross_validated_accuracy(monkeypatch, bound, passed):
    found = {"photos": 400, "right": 380, "accuracy": 0.95, "folds": 5, "by_label": {}}
    _, row = rows_from_counts(
        monkeypatch,
        [[1, 0], [0, 1]],
        {"metric": "accuracy", "min": 0},
        {"metric": "cross_validated_accuracy", **bound},
        cross_validation=found,
    )
    assert (row.passed, row.photos, row.value, row.slice) == (passed, 400, 0.95, "overall")
    assert row.interval == pytest.approx((0.9240, 0.9674), abs=5e-5)
    assert (row.metric, row.kind, row.examples) == ("cross_validated_accuracy", "value", 400)
    assert f">= {bound['min']}" in row.bound
    assert row.bound.startswith("lower end ") is ("confident" in bound)


def test_without_cross_validation_its_bound_fails_with_a_note(monkeypatch):
    bound = {"metric": "cross_validated_accuracy", "min": 0.1}
    _, row = rows_from_counts(
        monkeypatch, [[1, 0], [0, 1]], {"metric": "accuracy", "min": 0}, bound
    )
    assert (row.passed, row.value, row.photos) == (False, None, 0)
    assert row.note.startswith("not measured in this run: ")
