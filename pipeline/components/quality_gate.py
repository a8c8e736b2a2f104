"""Gate 1 as a component: judges what the Evaluator measured and blesses the model, or not."""

import dataclasses
import json
from pathlib import Path

from tfx import v1 as tfx
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as evaluator_executor
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from pipeline import gate
from pipeline.artifacts import saved_model
from pipeline.artifacts.digests import file_digest, settings_digest
from pipeline.artifacts.names import CROSS_VALIDATION_FILE, VERDICT_FILE
from pipeline.config.gate import GateConfig, Override
from pipeline.gate.extractors import saved_labels
from pipeline.gate.few_photos import few_photos
from pipeline.gate.intervals import wilson
from pipeline.gate.measurements import Measurements
from pipeline.gate.verdict import FORMAT_VERSION, judge

_GATE = Path(gate.__file__).parent
_CODE = [
    Path(__file__),
    *(_GATE / name for name in ("few_photos.py", "intervals.py", "measurements.py", "verdict.py")),
]


def create(evaluator, model, config, override: Override | None, cross_validation=None):
    """The component of a pipeline.

    Args:
        evaluator: the Evaluator, which measures and does not bless.
        model: channel of the model that it measured.
        config: with `records` filled in.
        override: blesses the model even if it fails; None leaves it to the bounds.
        cross_validation: channel of the `ModelEvaluation` that holds `cross_validation.json`; None
            where nothing measures it.
    """
    settings = {
        "gate": config.gate.model_dump(mode="json"),
        "labels": config.records.labels,
        "split": config.records.held_out,
        # A cached verdict is of the code that found it.
        "code": settings_digest([file_digest(path) for path in _CODE]),
    }
    optional = {} if cross_validation is None else {"cross_validation": cross_validation}
    return QualityGate(
        evaluation=evaluator.outputs["evaluation"],
        model=model,
        settings=json.dumps(settings),
        forced_by=override.by if override else "",
        forced_reason=override.reason if override else "",
        **optional,
    )


@tfx.dsl.components.component
def QualityGate(
    evaluation: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelEvaluation],
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    settings: tfx.dsl.components.Parameter[str],
    forced_by: tfx.dsl.components.Parameter[str],
    forced_reason: tfx.dsl.components.Parameter[str],
    blessing: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.ModelBlessing],
    cross_validation: tfx.dsl.components.InputArtifact[
        tfx.types.standard_artifacts.ModelEvaluation
    ] = None,
):
    """Blesses a model that meets every bound.

    Args:
        evaluation: what the Evaluator measured.
        model: the model that it measured.
        settings: JSON object with `gate` (see `GateConfig`), `labels` and `split`.
        forced_by: who blesses the model even if it fails; empty: nobody.
        forced_reason: why.
        blessing: receives `verdict.json` (docs/gate.md) and the files and properties that TFX's own
            Evaluator gives it; `model_digest` of the SavedModel that was measured; `forced_by` and
            `forced_reason` too where the blessing was forced.
        cross_validation: may hold `cross_validation.json`, the accuracy over all photos of heads on
            the pretrained network's features.
    """
    options = json.loads(settings)
    gate, labels = GateConfig.model_validate(options["gate"]), tuple(options["labels"])
    measured = Measurements(evaluation.uri, labels)
    validated = _cross_validation(cross_validation)
    rows = judge(measured, gate, labels, validated)
    applied = [row.passed for row in rows if row.passed is not None]
    passed = bool(applied) and all(applied)
    forced = bool(forced_reason) and not passed
    blessed = passed or forced
    baseline = measured.baseline_path
    verdict = {
        "format_version": FORMAT_VERSION,
        "passed": passed,
        "blessed": blessed,
        "forced": {"by": forced_by, "reason": forced_reason} if forced else None,
        "baseline": baseline,
        "baseline_labels": baseline and saved_labels(baseline),
        "split": options["split"],
        "intervals": gate.intervals,
        "rows": [dataclasses.asdict(row) for row in rows],
        "few_photos": few_photos(measured, gate, labels, options["split"]),
        "cross_validation": validated,
        "metrics": measured.table(),
        "labels": list(labels),
        "confusion": measured.confusion(),
        "calibration": measured.calibration(),
    }
    io_utils.write_string_file(f"{blessing.uri}/{VERDICT_FILE}", json.dumps(verdict, indent=1))
    file = constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME
    io_utils.write_string_file(f"{blessing.uri}/{file}", "")
    # What LatestBlessedModelStrategy and the Pusher read.
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(blessed))
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    blessing.set_string_custom_property(
        constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri
    )
    blessing.set_string_custom_property(
        saved_model.DIGEST, evaluation.get_string_custom_property(saved_model.DIGEST)
    )
    if forced:
        blessing.set_string_custom_property("forced_by", forced_by)
        blessing.set_string_custom_property("forced_reason", forced_reason)


def _cross_validation(artifact) -> dict | None:
    """The content of `cross_validation.json`, with the interval of its accuracy."""
    path = artifact and f"{artifact.uri}/{CROSS_VALIDATION_FILE}"
    if not path or not fileio.exists(path):
        return None
    found = json.loads(io_utils.read_string_file(path))
    return {**found, "interval": wilson(found["right"], found["photos"])}


# On Vertex AI an artifact's id is its name. TFX's entry point there puts it into a blessing, where
# LatestBlessedModel looks for it, if the executor is known as an Evaluator's.
evaluator_executor.Executor.register(QualityGate.EXECUTOR_SPEC.executor_class)
