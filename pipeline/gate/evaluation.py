"""The TFMA configuration of gate 1: metrics, slices, confidence intervals."""

import json
from pathlib import Path
from typing import Any

from tensorflow_model_analysis.proto import config_pb2

from data.record.records import LABEL
from pipeline.artifacts.digests import file_digest, settings_digest
from pipeline.artifacts.names import PROBABILITIES
from pipeline.config.gate import GateConfig
from pipeline.gate.slicing import slice_feature

_AUC_THRESHOLDS = 1000
_METHODS = {
    "jackknife": config_pb2.ConfidenceIntervalOptions.JACKKNIFE,
    "bootstrap": config_pb2.ConfidenceIntervalOptions.POISSON_BOOTSTRAP,
}
# TFX's cache ignores code that is loaded by name, so the config carries its digest.
_HERE = Path(__file__).parent
_CODE = settings_digest(
    [file_digest(_HERE / name) for name in ("extractors.py", "metrics.py", "slicing.py")]
)


def eval_config(gate: GateConfig, classes: int) -> config_pb2.EvalConfig:
    """Returns the TFMA configuration of gate 1.

    It has no thresholds: with thresholds the Evaluator would bless models itself, and a model that
    fails QualityGate would still become the next baseline.

    Args:
        gate: bounds and slices.
        classes: number of labels. AUC is computed one-vs-rest and averaged over the labels.

    Example:
        >>> gate = GateConfig(bounds=({"metric": "accuracy", "min": 0.8},))
        >>> [list(spec.feature_keys) for spec in eval_config(gate, classes=2).slicing_specs]
        [[], ['label']]
    """
    slices = [slice_feature(name, gate.edges.get(name)) for name in gate.sliced_features()]
    options = config_pb2.Options()
    if gate.intervals:
        options.compute_confidence_intervals.value = True
        options.confidence_intervals.method = _METHODS[gate.intervals]
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                label_key=LABEL,
                signature_name="serving_default",
                prediction_key=PROBABILITIES,
            )
        ],
        slicing_specs=[
            config_pb2.SlicingSpec(),
            *(config_pb2.SlicingSpec(feature_keys=[s]) for s in slices),
        ],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[
                    config_pb2.MetricConfig(class_name="ExampleCount"),
                    _metric("SparseCategoricalAccuracy", name="accuracy"),
                    _metric("SparseCategoricalCrossentropy", name="loss"),
                    _metric("MultiClassConfusionMatrixAtThresholds", thresholds=[0.0]),
                    _custom_metric("LabelRates", classes),
                    _custom_metric("CalibrationError", classes),
                ]
            ),
            config_pb2.MetricsSpec(
                metrics=[_metric("CalibrationPlot", num_buckets=10)],
                binarize=config_pb2.BinarizationOptions(class_ids={"values": range(classes)}),
            ),
            config_pb2.MetricsSpec(
                metrics=[_metric("AUC", name="auc", num_thresholds=_AUC_THRESHOLDS)],
                binarize=config_pb2.BinarizationOptions(class_ids={"values": range(classes)}),
                aggregate=config_pb2.AggregationOptions(
                    macro_average=True, class_weights=dict.fromkeys(range(classes), 1.0)
                ),
            ),
        ],
        options=options,
    )


def _metric(class_name: str, **settings: Any) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(class_name=class_name, config=json.dumps(settings))


def _custom_metric(class_name: str, classes: int) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(
        module="pipeline.gate.metrics",
        class_name=class_name,
        config=json.dumps({"classes": classes, "code": _CODE}),
    )
