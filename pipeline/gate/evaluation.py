"""What TFMA measures for gate 1: metrics, slices, intervals."""

import json
from pathlib import Path

from tensorflow_model_analysis.proto import config_pb2

from pipeline.artifacts.digests import file_digest, settings_digest
from pipeline.artifacts.names import PROBABILITIES
from pipeline.config.gate import GateConfig
from pipeline.gate.slicing import slice_feature

_LABEL = "label"
_AUC_THRESHOLDS = 1000
_METHODS = {
    "jackknife": config_pb2.ConfidenceIntervalOptions.JACKKNIFE,
    "bootstrap": config_pb2.ConfidenceIntervalOptions.POISSON_BOOTSTRAP,
}
# TFX's cache does not see code behind a dotted path; its digest makes an edit count.
_HERE = Path(__file__).parent
_CODE = settings_digest(
    [file_digest(_HERE / name) for name in ("extractors.py", "metrics.py", "slicing.py")]
)


def eval_config(gate: GateConfig, classes: int) -> config_pb2.EvalConfig:
    """The TFMA configuration of gate 1.

    Thresholds are not in it: they would make the Evaluator bless, and a model that only the
    gate refuses (by an interval) would still become the next baseline.

    Args:
        gate: bounds and slices.
        classes: number of labels; AUC is one class against the rest, averaged.
    """
    slices = [slice_feature(name, gate.edges.get(name)) for name in gate.sliced_features()]
    options = config_pb2.Options()
    if gate.intervals:
        options.compute_confidence_intervals.value = True
        options.confidence_intervals.method = _METHODS[gate.intervals]
    return config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(
                label_key=_LABEL,
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
                    _own_metric("LabelRates", classes),
                    _own_metric("CalibrationError", classes),
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


def _metric(class_name: str, **settings) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(class_name=class_name, config=json.dumps(settings))


def _own_metric(class_name: str, classes: int) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(
        module="pipeline.gate.metrics",
        class_name=class_name,
        config=json.dumps({"classes": classes, "code": _CODE}),
    )
