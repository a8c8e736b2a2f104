"""What TFMA measures for gate 1: metrics, slices, intervals."""

import json
from pathlib import Path

import tensorflow_model_analysis as tfma

from pipeline.digests import file_digest, settings_digest
from pipeline.gate.names import PROBABILITIES
from pipeline.gate.options import GateConfig
from pipeline.gate.slicing import slice_feature

_LABEL = "label"
_AUC_THRESHOLDS = 1000
_METHODS = {
    "jackknife": tfma.ConfidenceIntervalOptions.JACKKNIFE,
    "bootstrap": tfma.ConfidenceIntervalOptions.POISSON_BOOTSTRAP,
}
# TFX's cache does not see code behind a dotted path; its digest makes an edit count.
_HERE = Path(__file__).parent
_CODE = settings_digest(
    [file_digest(_HERE / name) for name in ("extractors.py", "metrics.py", "slicing.py")]
)


def eval_config(gate: GateConfig, classes: int) -> tfma.EvalConfig:
    """The TFMA configuration of gate 1.

    Thresholds are not in it: they would make the Evaluator bless, and a model that only the
    gate refuses (by an interval) would still become the next baseline.

    Args:
      gate: bounds and slices.
      classes: number of labels; AUC is one class against the rest, averaged.
    """
    slices = [slice_feature(name, gate.edges.get(name)) for name in gate.sliced_features()]
    options = tfma.Options()
    if gate.intervals:
        options.compute_confidence_intervals.value = True
        options.confidence_intervals.method = _METHODS[gate.intervals]
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                label_key=_LABEL,
                signature_name="serving_default",
                prediction_key=PROBABILITIES,
            )
        ],
        slicing_specs=[tfma.SlicingSpec(), *(tfma.SlicingSpec(feature_keys=[s]) for s in slices)],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(class_name="ExampleCount"),
                    _metric("SparseCategoricalAccuracy", name="accuracy"),
                    _metric("SparseCategoricalCrossentropy", name="loss"),
                    _metric("MultiClassConfusionMatrixAtThresholds", thresholds=[0.0]),
                    _own_metric("LabelRates", classes),
                    _own_metric("CalibrationError", classes),
                ]
            ),
            tfma.MetricsSpec(
                metrics=[_metric("CalibrationPlot", num_buckets=10)],
                binarize=tfma.BinarizationOptions(class_ids={"values": range(classes)}),
            ),
            tfma.MetricsSpec(
                metrics=[_metric("AUC", name="auc", num_thresholds=_AUC_THRESHOLDS)],
                binarize=tfma.BinarizationOptions(class_ids={"values": range(classes)}),
                aggregate=tfma.AggregationOptions(
                    macro_average=True, class_weights=dict.fromkeys(range(classes), 1.0)
                ),
            ),
        ],
        options=options,
    )


def _metric(class_name: str, **settings) -> tfma.MetricConfig:
    return tfma.MetricConfig(class_name=class_name, config=json.dumps(settings))


def _own_metric(class_name: str, classes: int) -> tfma.MetricConfig:
    return tfma.MetricConfig(
        module="pipeline.gate.metrics",
        class_name=class_name,
        config=json.dumps({"classes": classes, "code": _CODE}),
    )
