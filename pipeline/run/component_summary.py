"""One-line summaries of components for the terminal."""

from collections.abc import Callable

from pipeline.config.schema import RunConfig
from pipeline.gate.verdict_table import outcome_word
from pipeline.run.dag_runner import NodeReport
from pipeline.run.summary import Outcome


def describe(report: NodeReport, config: RunConfig) -> str:
    """Returns a line about the outputs of a node, or the first line of its error."""
    if report.state == "failed":
        return f"failed: {str(report.error).strip().splitlines()[0]}"
    describer = _DESCRIBERS.get(report.node_id)
    return describer(Outcome([report]), config) if describer else ""


def split_counts(counts: dict[str, dict[str, int]]) -> str:
    """Returns `train 320, validation 40, test 40` for {split: {label: n}}."""
    return ", ".join(f"{split} {sum(labels.values())}" for split, labels in counts.items())


def _examples(outcome: Outcome, config: RunConfig) -> str:
    return split_counts(config.records.counts)


def _statistics(outcome: Outcome, config: RunConfig) -> str:
    return f"{len(config.records.features) - 1} features (without pixels)"


def _schema(outcome: Outcome, config: RunConfig) -> str:
    return f"{len(config.records.features)} features, {len(config.records.labels)} labels"


def _transform(outcome: Outcome, config: RunConfig) -> str:
    size = config.model.image_size
    return f"images of {size}x{size}, uint8"


def _training(outcome: Outcome, config: RunConfig) -> str:
    training = outcome.training()
    if training is None:
        return ""
    epochs = training["epochs"]
    last = epochs[-1]
    return (
        f"{config.model.name}, {len(epochs)} epochs, accuracy {last['accuracy']:.3f}, "
        f"validation {last['val_accuracy']:.3f}"
    )


def _baseline(outcome: Outcome, config: RunConfig) -> str:
    baseline = outcome.output("LatestBlessedModel", "model")
    return f"model {baseline.id}" if baseline else "none yet"


def _evaluation(outcome: Outcome, config: RunConfig) -> str:
    split = config.records.held_out
    return f"evaluated {sum(config.records.counts[split].values())} records of the {split} split"


def _cross_validation(outcome: Outcome, config: RunConfig) -> str:
    result = outcome.cross_validation()
    if result is None:
        return ""
    return f"accuracy {result['accuracy']:.4f} over all {result['photos']} photos"


def _quality(outcome: Outcome, config: RunConfig) -> str:
    verdict = outcome.quality_verdict()
    if verdict is None:
        return ""
    overall = verdict["metrics"]["overall"]
    metrics = [f"{name} {overall[name]:.3f}" for name in ("accuracy", "auc") if name in overall]
    return f"{', '.join(metrics)}: {outcome_word(verdict)}"


def _serving(outcome: Outcome, config: RunConfig) -> str:
    verdict = outcome.serving_verdict()
    if verdict is None:
        return ""
    if not verdict["checks"]:
        return f"TensorFlow Serving: {outcome_word(verdict)}"
    passed = sum(check["passed"] for check in verdict["checks"])
    return f"{passed} of {len(verdict['checks'])} checks passed: {outcome_word(verdict)}"


def _push(outcome: Outcome, config: RunConfig) -> str:
    pushed = outcome.pushed()
    return f"version {pushed.version}: {pushed.destination}" if pushed else "nothing pushed"


_DESCRIBERS: dict[str, Callable[[Outcome, RunConfig], str]] = {
    "ImportExampleGen": _examples,
    "StatisticsGen": _statistics,
    "RecordSchema": _schema,
    "ExampleValidator": lambda outcome, config: "no anomalies",
    "Transform": _transform,
    "Trainer": _training,
    "LatestBlessedModel": _baseline,
    "Evaluator": _evaluation,
    "CrossValidation": _cross_validation,
    "QualityGate": _quality,
    "ServingCheck": _serving,
    "InfraValidator": _serving,
    "Pusher": _push,
}
