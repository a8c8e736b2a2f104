import json
from types import SimpleNamespace

import pytest
import tensorflow_model_analysis as tfma
from tfx import v1 as tfx

from pipeline.artifacts.names import CROSS_VALIDATION_FILE, VERDICT_FILE
from pipeline.components import quality_gate
from pipeline.config.gate import GateConfig
from tests.pipeline.gate.measurements import measurements_from_counts

FOUND = {"photos": 400, "right": 398, "accuracy": 0.995, "folds": 5, "by_label": {}}
GATE = GateConfig(
    bounds=[
        {"metric": "accuracy", "min": 0.6},
        {"metric": "cross_validated_accuracy", "min": 0.9},
    ]
)
KINDS = tfx.types.standard_artifacts


def artifact(kind, folder):
    folder.mkdir()
    made = kind()
    made.uri = str(folder)
    return made


@pytest.fixture
def verdict(monkeypatch, tmp_path):
    """Runs the component's function on 10 photos; returns the verdict."""
    measured = measurements_from_counts(monkeypatch, ("cat", "dog"), [[5, 0], [1, 4]])
    monkeypatch.setattr(type(measured), "baseline_path", None)
    monkeypatch.setattr(tfma, "load_plots", lambda uri: [])
    blessing = artifact(KINDS.ModelBlessing, tmp_path / "blessing")

    def run(**inputs):
        settings = {"gate": GATE.model_dump(mode="json"), "labels": ["cat", "dog"], "split": "test"}
        quality_gate.QualityGate.test_call(
            evaluation=artifact(KINDS.ModelEvaluation, tmp_path / "evaluation"),
            model=artifact(KINDS.Model, tmp_path / "model"),
            settings=json.dumps(settings),
            forced_by="",
            forced_reason="",
            blessing=blessing,
            **inputs,
        )
        return json.loads((tmp_path / "blessing" / VERDICT_FILE).read_text())

    return run


def test_the_verdict_has_the_cross_validation_and_the_warnings(verdict, tmp_path):
    validation = artifact(KINDS.ModelEvaluation, tmp_path / "validation")
    (tmp_path / "validation" / CROSS_VALIDATION_FILE).write_text(json.dumps(FOUND))
    written = verdict(cross_validation=validation)
    low, high = written["cross_validation"].pop("interval")
    assert written["cross_validation"] == FOUND and low < 0.995 < high
    assert written["passed"] and [row["photos"] for row in written["rows"]] == [10, 400]
    assert [sentence.split(":")[0] for sentence in written["few_photos"]] == [
        "10 test photos",
        "accuracy >= 0.6 on 10 photos",
    ]


@pytest.mark.parametrize("connected", [True, False])
def test_the_verdict_without_a_cross_validation(verdict, tmp_path, connected):
    inputs = {}
    if connected:
        inputs["cross_validation"] = artifact(KINDS.ModelEvaluation, tmp_path / "validation")
    written = verdict(**inputs)
    assert written["cross_validation"] is None
    assert [row["passed"] for row in written["rows"]] == [True, False] and not written["blessed"]


def test_the_cross_validation_input_is_optional():
    importers = [
        tfx.dsl.Importer(source_uri="unread", artifact_type=kind).with_id(name)
        for name, kind in (("E", KINDS.ModelEvaluation), ("M", KINDS.Model))
    ]
    evaluation, model = (importer.outputs["result"] for importer in importers)
    config = SimpleNamespace(
        gate=GATE, records=SimpleNamespace(labels=["cat", "dog"], held_out="test")
    )
    evaluator = SimpleNamespace(outputs={"evaluation": evaluation})
    without = quality_gate.create(evaluator, model, config, None)
    assert set(without.inputs) == {"evaluation", "model"}
    given = quality_gate.create(evaluator, model, config, None, evaluation)
    assert set(given.inputs) == {"evaluation", "model", "cross_validation"}
