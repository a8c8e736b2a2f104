"""Both gates in real runs on one root: refusals, overrides, pushes and their reports."""

import csv
import getpass
import json
import shutil
from pathlib import Path

import pytest

from data.sources import samples
from pipeline.artifacts.saved_model import model_digest
from pipeline.metadata.reader import run_executions, sqlite_store
from tests.conftest import run_local

pytestmark = pytest.mark.slow

SMALL = ("--set=model.image_size=64", "--set=trainer.epochs=1")
# Too large a learning rate on pixels of 0 to 255: far worse than chance.
BAD = ("--set=model.name=article_cnn", "--set=trainer.learning_rate=0.01")
STRICT = "--set=gate.bounds=[{metric: accuracy, min: 0.95}]"
BETTER = (
    "--set=gate.bounds=[{metric: loss, max_change: 0}, {metric: recall, min: 0}, "
    "{metric: accuracy, slice_by: camera, min: 0}, "
    "{metric: accuracy, slice_by: image_size, min: 0}]"
)
REASON = "the labels are known to be wrong: a drill"


def write_csv(photos: Path, file: Path) -> Path:
    """Writes an Image CSV with an additional column."""
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["label", "camera", "image_uri", "split"])
        for label in ("cat", "dog"):
            for i, path in enumerate(sorted((photos / label).iterdir())):
                split = {8: "VALIDATION", 9: "TEST"}.get(i % 10, "TRAIN")
                writer.writerow([label, "old" if i % 20 < 10 else "new", path, split])
    return file


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("gates")


def good_command(root: Path) -> tuple:
    return ("--csv", root / "good.csv", *SMALL, BETTER, "--set=gate.edges={image_size: [48]}")


@pytest.fixture(scope="module")
def runs(root):
    samples.draw(root / "wrong", count=60, size=48, wrong_labels=0.5)
    samples.draw(root / "good", count=80, size=48, seed=1)
    wrong = ("--images", root / "wrong", *SMALL, *BAD, STRICT)
    write_csv(root / "good", root / "good.csv")
    good = good_command(root)
    commands = {
        "refused": wrong,
        "forced": (*wrong, "--bless", REASON),
        "better": good,
        "worse": (*good, *BAD),
        "too big": (*good, "--set=serving.max_memory_mb=10", "--bless", "it must go out"),
    }
    done, seen = {}, set()
    for name, command in commands.items():
        run = run_local(*command, root=root / "runs")
        (folder,) = {*(root / "runs" / "runs").iterdir()} - seen
        seen.add(folder)
        done[name] = run, json.loads((folder / "summary.json").read_text())
    return done


def failed_rows(summary):
    rows = summary["gates"]["quality"]["rows"]
    return {(r["metric"], r["slice"], r["kind"]) for r in rows if r["passed"] is False}


def test_a_model_trained_on_wrong_labels_is_refused_and_nothing_is_pushed(runs):
    run, summary = runs["refused"]
    assert run.status == 3, run.output + run.errors
    assert summary["pushed_version"] is None and summary["status"] == "refused"
    assert failed_rows(summary) == {("accuracy", "overall", "value")}
    assert "FAILED" in run.output and "nothing was pushed" in run.output
    assert "value bounds only" in run.output, "there is no baseline yet"
    verdict = json.loads(Path(summary["gates"]["quality"]["path"]).read_text())
    assert verdict["blessed"] is False and verdict["baseline"] is None
    assert verdict["metrics"]["overall"]["accuracy"] < 0.95


def test_an_override_is_pushed_and_recorded_with_user_and_reason(runs, root):
    run, summary = runs["forced"]
    assert run.status == 0, run.output + run.errors
    assert summary["pushed_version"] == 1
    states = {c["name"]: c["state"] for c in summary["components"]}
    assert states["Trainer"] == states["Evaluator"] == "cached"
    assert states["QualityGate"] == "complete"
    forced = {"by": getpass.getuser(), "reason": REASON}
    assert summary["gates"]["quality"]["forced"] == forced
    assert not summary["gates"]["quality"]["passed"]
    verdict = json.loads(Path(summary["gates"]["quality"]["path"]).read_text())
    assert verdict["forced"] == forced and verdict["blessed"]
    assert f"FORCED by {getpass.getuser()}: {REASON}" in run.output
    store = sqlite_store(str(root / "runs" / "metadata.sqlite"))
    executions = run_executions(store, summary["run_id"])
    (gate,) = (e for e in executions if e.node_id == "QualityGate")
    blessing = gate.outputs["blessing"][0].properties
    assert (blessing["blessed"], blessing["forced_by"]) == (1, getpass.getuser())
    (execution,) = store.get_executions_by_id([gate.id])
    assert execution.custom_properties["forced_reason"].string_value == REASON


def test_a_better_model_is_pushed_as_the_next_version(runs, root):
    run, summary = runs["better"]
    assert run.status == 0, run.output + run.errors
    assert summary["pushed_version"] == 2
    rows = summary["gates"]["quality"]["rows"]
    change = next(row for row in rows if row["kind"] == "change")
    assert change["passed"] and change["value"] <= change["baseline"], (
        "against the overridden model"
    )
    slices = {row["slice"] for row in rows}
    assert {"camera=old", "camera=new", "overall"} <= slices
    assert {s for s in slices if s.startswith("image_size=")} <= {
        "image_size=below 48",
        "image_size=48 and more",
    }
    assert {p.name for p in (root / "runs" / "serving").iterdir()} >= {"1", "2"}


def test_a_worse_model_is_refused_by_the_change_bound_alone(runs):
    run, summary = runs["worse"]
    assert run.status == 3, run.output + run.errors
    assert failed_rows(summary) == {("loss", "overall", "change")}
    assert summary["pushed_version"] is None
    assert summary["gates"]["serving"]["passed"]


def test_the_serving_gate_cannot_be_overridden(runs):
    run, summary = runs["too big"]
    assert run.status == 3, run.output + run.errors
    assert summary["pushed_version"] is None
    assert "peak memory (MiB)" in run.output
    assert summary["gates"]["quality"]["passed"], "the model equals the baseline"
    assert summary["gates"]["quality"]["forced"] is None, "a model that passes is not overridden"


def test_a_model_whose_export_is_broken_is_refused_and_not_pushed(runs, root, tmp_path):
    import tensorflow as tf
    from tfx import v1 as tfx

    from pipeline.components import serving_check
    from pipeline.config.files import load_config
    from pipeline.run.dag_runner import LocalDagRunner

    _, summary = runs["better"]
    artifacts = root / "runs" / "pipeline"
    model = max((artifacts / "Trainer" / "model").iterdir(), key=lambda p: int(p.name))
    loaded = tf.saved_model.load(str(model / "Format-Serving"))
    kept = {k: v for k, v in loaded.signatures.items() if k != "serving_jpeg"}
    broken = tmp_path / "model"
    tf.saved_model.save(loaded, str(broken / "Format-Serving"), signatures=kept)
    shutil.copy(model / "reference.npz", broken)

    kinds = tfx.types.standard_artifacts
    nodes = [
        tfx.dsl.Importer(source_uri=str(broken), artifact_type=kinds.Model).with_id("Model"),
        tfx.dsl.Importer(
            source_uri=str(max((artifacts / "ImportExampleGen" / "examples").iterdir())),
            artifact_type=kinds.Examples,
            properties={"split_names": '["train", "validation", "test"]'},
        ).with_id("Examples"),
        tfx.dsl.Importer(
            source_uri=str(tmp_path / "blessing"),
            artifact_type=kinds.ModelBlessing,
            custom_properties={"blessed": 1},
        ).with_id("Blessing"),
    ]
    imported, examples, blessing = (node.outputs["result"] for node in nodes)
    resolved = root / "runs" / "runs" / summary["run_id"] / "config.yaml"
    check = serving_check.create(imported, examples, load_config(resolved))
    pusher = tfx.components.Pusher(
        model=imported,
        model_blessing=blessing,
        infra_blessing=check.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(tmp_path / "out"))
        ),
    )
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="broken",
        pipeline_root=str(tmp_path / "pipeline"),
        components=[*nodes, check, pusher],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(tmp_path / "metadata.sqlite")
        ),
        beam_pipeline_args=["--runner=FnApiRunner"],
    )
    LocalDagRunner("broken", lambda report: None).run(pipeline)
    (verdict,) = tmp_path.glob("pipeline/ServingCheck/blessing/*/verdict.json")
    failed = [c for c in json.loads(verdict.read_text())["checks"] if not c["passed"]]
    assert [c["name"] for c in failed] == ["signatures"]
    assert failed[0]["value"] == ["serving_default", "serving_pixels"]
    assert not (tmp_path / "out").exists()


def test_a_model_that_changed_since_its_evaluation_is_trained_again(runs, root):
    pushed = root / "runs" / "serving" / str(runs["better"][1]["pushed_version"])
    digests = {p: model_digest(str(p)) for p in root.glob("runs/pipeline/Trainer/model/*/Format-*")}
    (saved,) = (path for path, digest in digests.items() if digest == model_digest(str(pushed)))
    shutil.rmtree(root / "runs" / "serving")  # otherwise it would be restored from there
    (saved / "saved_model.pb").write_bytes(b"no model at all")
    run = run_local(*good_command(root), root=root / "runs")
    assert run.status == 0, run.output + run.errors
    assert f"changed since its evaluation, in {saved.parent}: no longer used" in run.output
    served = model_digest(str(root / "runs" / "serving" / "1"))
    assert served == model_digest(
        str(
            max(
                root.glob("runs/pipeline/Trainer/model/[0-9]*/Format-*"),
                key=lambda p: p.stat().st_mtime,
            )
        )
    )
