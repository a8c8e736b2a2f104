"""Real runs of runner_local.py on drawn photos, told from what they leave behind."""

import csv

import pytest
import yaml

from data.sources import samples
from pipeline.metadata.reader import run_executions, sqlite_store
from pipeline.run import photo_recorder as before
from tests.conftest import QUICK, WHOLE, run_local, shared

NODES = [
    "ImportExampleGen",
    "StatisticsGen",
    "RecordSchema",
    "ExampleValidator",
    "Transform",
    "Trainer",
    "CrossValidation",
    "LatestBlessedModel",
    "Evaluator",
    "QualityGate",
    "ServingCheck",
    "Pusher",
]
UP_TO_THE_TRAINER = NODES[:6]


def states(summary):
    return {component["name"]: component["state"] for component in summary["components"]}


def test_the_model_is_pushed_and_the_run_says_where(pushed_run):
    assert pushed_run.status == 0, pushed_run.output + pushed_run.errors
    summary = pushed_run.summary
    assert summary["status"] == "pushed" and summary["pushed_version"] == 1
    assert (pushed_run.root / "serving" / "1" / "saved_model.pb").is_file()
    assert "Pushed version 1" in pushed_run.output
    for where in (summary["pushed_path"], pushed_run.folder / "summary.json", "metadata.sqlite"):
        assert str(where) in pushed_run.output


def test_the_terminal_shows_one_line_a_component_and_nothing_of_the_libraries(pushed_run):
    lines = pushed_run.output.splitlines()
    for node in NODES:
        assert sum(line.strip().startswith(node) for line in lines) == 1, node
    assert len(lines) < 40
    assert pushed_run.errors == ""
    assert "Warning" not in pushed_run.output


def test_the_summary_accounts_for_data_training_and_both_gates(pushed_run):
    summary = pushed_run.summary
    assert set(states(summary)) == set(NODES)
    assert set(states(summary).values()) == {"complete"}
    counts = summary["dataset"]["counts"]
    assert sum(n for labels in counts.values() for n in labels.values()) == 80
    assert sorted(summary["dataset"]["labels"]) == ["cat", "dog"]
    assert [epoch["epoch"] for epoch in summary["training"]["epochs"]] == [1, 2]
    assert 0 <= summary["evaluation"]["overall"]["accuracy"] <= 1
    assert {"overall", "label=cat", "label=dog"} <= set(summary["evaluation"])
    quality, serving = summary["gates"]["quality"], summary["gates"]["serving"]
    assert quality["passed"] and serving["passed"]
    assert {(r["metric"], r["slice"], r["kind"]): r["passed"] for r in quality["rows"]} == {
        ("loss", "overall", "value"): True,
        ("loss", "overall", "change"): None,
        ("accuracy", "label=cat", "value"): True,
        ("accuracy", "label=dog", "value"): True,
    }


def test_a_broken_photo_is_skipped_and_listed(pushed_run):
    with (pushed_run.folder / "discarded.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["path"].endswith("broken, really.jpg") and row["reason"] and row["exception"]
    assert pushed_run.summary["dataset"]["discarded"] == 1


def test_ml_metadata_knows_every_component_of_the_run(pushed_run):
    store = sqlite_store(str(pushed_run.root / "metadata.sqlite"))
    executions = run_executions(store, pushed_run.summary["run_id"])
    assert sorted(e.node_id for e in executions) == sorted([*NODES, *before.NODES])
    pushed = next(e for e in executions if e.node_id == "Pusher").outputs["pushed_model"][0]
    assert pushed.properties["pushed_version"] == "1"


def test_the_same_command_again_runs_nothing_up_to_the_trainer(photos, pushed_run):
    again = run_local("--images", photos, *WHOLE, root=pushed_run.root)
    assert again.status == 0, again.output
    found = states(again.summary)
    assert {found[node] for node in UP_TO_THE_TRAINER} == {"cached"}
    assert again.summary["dataset"]["cached"]
    assert again.summary["pushed_version"] == 1, "the model that is served already"
    change = next(r for r in again.summary["gates"]["quality"]["rows"] if r["kind"] == "change")
    assert change["passed"] is True and change["baseline"] == pytest.approx(change["value"])


@pytest.fixture(scope="module")
def wrong_labels(tmp_path_factory):
    """Photos of which half have the wrong label."""
    folder = tmp_path_factory.mktemp("wrong") / "photos"
    samples.draw(folder, count=80, size=64, wrong_labels=0.5)
    return folder


@pytest.fixture(scope="module")
def refused_run(wrong_labels, tmp_path_factory):
    """A run on them, which is refused."""
    bounds = "--set=gate.bounds=[{metric: accuracy, min: 0.95}]"
    settings = (QUICK[0], "--set=gate.cross_validate=false", bounds)
    return run_local("--images", wrong_labels, *settings, root=tmp_path_factory.mktemp("refused"))


def test_wrong_labels_are_refused_and_nothing_is_pushed(refused_run):
    assert refused_run.status == 3, refused_run.output
    assert list(refused_run.root.glob("serving/[0-9]*")) == []
    summary = refused_run.summary
    assert summary["pushed_version"] is None and summary["status"] == "refused"
    (row,) = summary["gates"]["quality"]["rows"]
    assert row["passed"] is False and row["value"] < 0.95
    assert "FAILED" in refused_run.output and "nothing was pushed" in refused_run.output


def test_a_failing_component_ends_the_run_with_its_name_and_log(refused_run, wrong_labels):
    run = run_local(
        *("--images", wrong_labels, *QUICK, "--set=trainer.class_weights={cat: 1}"),
        root=refused_run.root,
    )
    assert run.status == 1, run.output
    assert "Trainer failed" in run.output and str(run.folder / "run.log") in run.output
    assert run.summary["status"] == "failed"
    assert states(run.summary)["Trainer"] == "failed"
    assert states(run.summary)["Transform"] == "cached"


def test_the_resolved_config_is_kept(pushed_run):
    config = yaml.safe_load((pushed_run.folder / "config.yaml").read_text())
    assert config["trainer"]["epochs"] == 2 and config["records"]["labels"]


@pytest.mark.slow
@pytest.mark.parametrize("route", ["out_csv", "out_dir"])
def test_real_tfrecorder_output_goes_through_to_an_evaluated_model(route, tmp_path):
    folder = next(shared("tfrecorder-2.0", route).iterdir())
    run = run_local("--tfrecords", folder, *QUICK, root=tmp_path)
    assert run.status == 0, run.output
    assert run.summary["evaluation"]["overall"]["example_count"] == 2
    assert run.summary["dataset"]["labels"] == ["dog", "cat"]


@pytest.mark.slow
def test_many_classes_need_no_change_and_raw_records_neither(tmp_path):
    samples.draw(tmp_path / "photos", count=120, size=64, classes=("cat", "dog", "rabbit", "bear"))
    run = run_local(
        "--images", tmp_path / "photos", *QUICK, "--set=data.encoding=raw", root=tmp_path / "root"
    )
    assert run.status == 0, run.output
    assert len(run.summary["dataset"]["labels"]) == 4
