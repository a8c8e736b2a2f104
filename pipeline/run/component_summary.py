"""What each component made, in a few words for the terminal."""

from pipeline.config.schema import Config
from pipeline.gate.verdict_table import outcome_word
from pipeline.run.dag_runner import NodeReport
from pipeline.run.summary import Outcome


def describe(report: NodeReport, config: Config) -> str:
    """One line about the outcome of a node; for a failed one the first line of its error."""
    if report.state == "failed":
        return f"failed: {str(report.error).strip().splitlines()[0]}"
    describer = _DESCRIBERS.get(report.node_id)
    return describer(Outcome(config, [report]), config) if describer else ""


def split_counts(counts: dict[str, dict[str, int]]) -> str:
    """`train 320, validation 40, test 40` from {split: {label: n}}."""
    return ", ".join(f"{split} {sum(labels.values())}" for split, labels in counts.items())


def _examples(outcome: Outcome, config: Config) -> str:
    return split_counts(config.records.counts)


def _statistics(outcome: Outcome, config: Config) -> str:
    return f"{len(config.records.features) - 1} features (pixels left out)"


def _schema(outcome: Outcome, config: Config) -> str:
    return f"{len(config.records.features)} features, {len(config.records.labels)} labels"


def _transform(outcome: Outcome, config: Config) -> str:
    size = config.model.image_size
    return f"images of {size}x{size}, uint8"


def _training(outcome: Outcome, config: Config) -> str:
    epochs = outcome.training()["epochs"]
    last = epochs[-1]
    return (
        f"{config.model.name}, {len(epochs)} epochs, accuracy {last['accuracy']:.3f}, "
        f"validation {last['val_accuracy']:.3f}"
    )


def _baseline(outcome: Outcome, config: Config) -> str:
    baseline = outcome.output("LatestBlessedModel", "model")
    return f"model {baseline.id}" if baseline else "none yet"


def _evaluation(outcome: Outcome, config: Config) -> str:
    split = config.records.held_out
    return f"{sum(config.records.counts[split].values())} records of the {split} split measured"


def _cross_validation(outcome: Outcome, config: Config) -> str:
    found = outcome.cross_validation()
    return f"accuracy {found['accuracy']:.4f} over all {found['photos']} photos"


def _quality(outcome: Outcome, config: Config) -> str:
    verdict = outcome.quality_verdict()
    overall = verdict["metrics"]["overall"]
    figures = [f"{name} {overall[name]:.3f}" for name in ("accuracy", "auc") if name in overall]
    return f"{', '.join(figures)}: {outcome_word(verdict)}"


def _serving(outcome: Outcome, config: Config) -> str:
    verdict = outcome.serving_verdict()
    if not verdict["checks"]:
        return f"TensorFlow Serving answers: {outcome_word(verdict)}"
    passed = sum(check["passed"] for check in verdict["checks"])
    return f"{passed} of {len(verdict['checks'])} checks passed: {outcome_word(verdict)}"


def _push(outcome: Outcome, config: Config) -> str:
    pushed = outcome.pushed()
    return f"version {pushed[0]}: {pushed[1]}" if pushed else "nothing pushed"


_DESCRIBERS = {
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
