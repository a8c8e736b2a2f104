"""Gate 1 on known predictions: what TFMA measures of them, and what the bounds make of it."""

import math

import apache_beam as beam
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow_model_analysis as tfma
from tfx_bsl.arrow import table_util

from pipeline.gate import extractors
from pipeline.gate.evaluation import eval_config
from pipeline.gate.measurements import Measurements
from pipeline.gate.options import GateConfig
from pipeline.gate.verdict import judge

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
            # Dogs that are known as such, and a cat that is taken for one.
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
        tfma.ModelSpec(
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
    return measured.figure("candidate", metric, label, where).value


def test_figures_are_those_of_the_predictions(alone, examples):
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


def test_slices_are_of_labels_of_ranges_and_of_columns(alone):
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
    assert "auc" not in found["label=cat"], "there is nothing to tell apart"


def rows(measured, *bounds, **settings):
    return judge(measured, gate(*bounds, **settings), LABELS)


def test_every_bound_is_judged_in_every_slice_it_is_about(alone):
    judged = rows(
        alone,
        {"metric": "accuracy", "min": 0.6, "max": 0.65, "min_change": 0},
        {"metric": "accuracy", "slice_by": "label", "min": 0},
        {"metric": "recall", "label": "dog", "min": 0.99},
    )
    told = [(r.metric, r.slice, r.bound, r.passed, r.note) for r in judged]
    assert told == [
        ("accuracy", "overall", ">= 0.6", True, None),
        ("accuracy", "overall", "<= 0.65", False, None),
        ("accuracy", "overall", "change >= 0", None, "no baseline yet"),
        *(("accuracy", f"label={label}", ">= 0", True, None) for label in LABELS),
        ("recall of dog", "overall", ">= 0.99", False, None),
    ]


def test_a_change_is_judged_against_the_baseline_and_by_its_own_interval(compared):
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


def test_a_confident_bound_asks_the_worse_end_of_the_interval(compared):
    figure = compared.figure("candidate", "accuracy", None, ())
    assert figure.interval[0] < figure.value < figure.interval[1]
    between = (figure.interval[0] + figure.value) / 2
    bound = {"metric": "accuracy", "min": between}
    assert rows(compared, bound)[0].passed
    asked = rows(compared, {**bound, "confident": True}, intervals="jackknife")[0]
    assert not asked.passed and asked.bound.startswith("lower end >= ")


def test_what_cannot_be_measured_does_not_pass_silently(alone):
    no_such_slice = rows(alone, {"metric": "accuracy", "slice_by": "flash", "min": 0})
    assert [(r.slice, r.passed) for r in no_such_slice] == [("flash=any", False)]
    without_interval = rows(
        alone, {"metric": "loss", "max": 99, "confident": True}, intervals="jackknife"
    )
    assert without_interval[0].passed is False and "interval" in without_interval[0].note
    rates = [{"metric": metric, "slice_by": "lens", "min": 0} for metric in ("precision", "recall")]
    in_slice = {(r.metric, r.passed) for r in rows(alone, *rates) if r.slice == "lens=tele"}
    assert in_slice == {
        ("precision of cat", False),  # there is a cat, and nothing was taken for one
        ("recall of cat", True),
        ("precision of dog", True),
        ("recall of dog", True),
        ("precision of bear", None),  # the slice has none
        ("recall of bear", None),
    }
    small = rows(alone, {"metric": "accuracy", "slice_by": "camera", "min": 1.1}, min_slice_size=10)
    assert {r.slice: r.passed for r in small} == {"camera=old": False, "camera=new": None}
    assert all(math.isfinite(v) for row in alone.table().values() for v in row.values())
