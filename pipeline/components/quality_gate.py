"""Gate 1 as a component: applies the bounds to the Evaluator's metrics and blesses the model."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from tfx import types
from tfx import v1 as tfx
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as evaluator_executor
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.io import fileio
from tfx.utils import io_utils

from pipeline import gate
from pipeline.artifacts import saved_model
from pipeline.artifacts.digests import file_digest, settings_digest
from pipeline.artifacts.names import CROSS_VALIDATION_FILE, VERDICT_FILE
from pipeline.config.gate import GateConfig, Override
from pipeline.config.schema import RunConfig
from pipeline.gate.extractors import saved_labels
from pipeline.gate.few_photos import few_photos
from pipeline.gate.intervals import wilson
from pipeline.gate.measurements import Measurements
from pipeline.gate.verdict import FORMAT_VERSION, apply_bounds

_GATE = Path(gate.__file__).parent
_CODE = [
    Path(__file__),
    *(_GATE / name for name in ("few_photos.py", "intervals.py", "measurements.py", "verdict.py")),
]


def create(
    evaluator: tfx.components.Evaluator,
    model: tfx.dsl.Channel,
    config: RunConfig,
    override: Override | None,
    cross_validation: tfx.dsl.Channel | None = None,
) -> BaseComponent:
    """Creates the component.

    Args:
        evaluator: the Evaluator, which evaluates the model without blessing it.
        model: channel of the evaluated model.
        config: all settings.
        override: blesses the model even if it fails; None applies the bounds only.
        cross_validation: channel of the `ModelEvaluation` that holds `cross_validation.json`; None
            without cross-validation.
    """
    settings = {
        "gate": config.gate.model_dump(mode="json"),
        "labels": config.records.labels,
        "split": config.records.held_out,
        # Part of the settings, so that a change of the code invalidates TFX's cache.
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
) -> None:
    """Blesses a model that meets every bound.

    Args:
        evaluation: output of the Evaluator.
        model: the evaluated model.
        settings: JSON object with `gate` (see `GateConfig`), `labels` and `split`.
        forced_by: who overrides the gate; empty without an override.
        forced_reason: reason of the override.
        blessing: receives `verdict.json` (docs/gate.md), the files and properties that TFX's
            Evaluator writes and the `model_digest` of the evaluated SavedModel. An override that
            takes effect adds `forced_by` and `forced_reason`.
        cross_validation: may hold `cross_validation.json`, see `CrossValidation`.
    """
    options = json.loads(settings)
    gate, labels = GateConfig.model_validate(options["gate"]), tuple(options["labels"])
    measured = Measurements(evaluation.uri, labels)
    validated = _cross_validation(cross_validation)
    rows = apply_bounds(measured, gate, labels, validated)
    applied = [row.passed for row in rows if row.passed is not None]
    passed = bool(applied) and all(applied)
    overridden = bool(forced_reason) and not passed
    blessed = passed or overridden
    baseline = measured.baseline_path
    verdict = {
        "format_version": FORMAT_VERSION,
        "passed": passed,
        "blessed": blessed,
        "forced": {"by": forced_by, "reason": forced_reason} if overridden else None,
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
    # Read by LatestBlessedModelStrategy and the Pusher.
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, int(blessed))
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    blessing.set_string_custom_property(
        constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri
    )
    blessing.set_string_custom_property(
        saved_model.DIGEST, evaluation.get_string_custom_property(saved_model.DIGEST)
    )
    if overridden:
        blessing.set_string_custom_property("forced_by", forced_by)
        blessing.set_string_custom_property("forced_reason", forced_reason)


def _cross_validation(artifact: types.Artifact | None) -> dict[str, Any] | None:
    """Returns `cross_validation.json` with the `interval` of its accuracy, if the file exists."""
    path = artifact and f"{artifact.uri}/{CROSS_VALIDATION_FILE}"
    if not path or not fileio.exists(path):
        return None
    found = json.loads(io_utils.read_string_file(path))
    return {**found, "interval": wilson(found["right"], found["photos"])}


# On Vertex AI an artifact's id is its resource name. TFX's entry point writes it into the blessing,
# where LatestBlessedModel reads it, only if the executor counts as an Evaluator's.
evaluator_executor.Executor.register(QualityGate.EXECUTOR_SPEC.executor_class)
