"""From photos in a bucket to a prediction, each service of Google Cloud reached by its own client.

The compiled spec runs container by container over gs:// paths: Beam's components as jobs on
Dataflow, the Trainer as a custom job of two machines, the push to Vertex AI Prediction. They run on
hosts of their own (`tests/standins/world.py`), in environments that hold the locked requirements
and the project's wheel, and nothing else of the project.
"""

import json
from pathlib import Path

import pytest

from pipeline.artifacts.label_file import read_labels
from pipeline.predict import photo_folder, results
from tests.pipeline.cloud import up_to_transform
from tests.pipeline.cloud.received import check_job
from tests.pipeline.cloud.whole_way import whole_cloud
from tests.standins.world import PROJECT, REGION

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # a busy machine takes long

# A step that only the graph of this component has.
STEPS = {
    "ImportExampleGen": "WriteSplit[train]",
    "StatisticsGen": "GenerateStatistics[train]",
    "Transform": "Analyze",
    "Evaluator": "ExtractEvaluateAndWriteResults",
}
RECORDS = "gs://bucket/pawprint/records"
HOSTS = ("worker-1", "worker-2")


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    with whole_cloud(photos, tmp_path_factory.mktemp("whole")) as made:
        yield made


@pytest.fixture(scope="module")
def spec(whole):
    return whole.compile("pipeline")


@pytest.fixture(scope="module")
def first(whole, spec):
    """The first run, with all that it left."""
    run = whole.run(spec)
    print(whole.said(run))
    return run


@pytest.fixture(scope="module")
def records(whole, spec) -> str:
    """The folder of the records, which the spec was compiled of."""
    names = whole.cloud.world.storage.names(f"{RECORDS}/")
    (digest,) = (name.partition("/")[0] for name in names if name.endswith("/manifest.json"))
    return f"{RECORDS}/{digest}"


@pytest.fixture(scope="module")
def compared(whole, first, records, tmp_path_factory):
    """An artifact of the first run, and that of a run on this machine of the same records."""
    folder = tmp_path_factory.mktemp("compared")
    fetched = whole.cloud.world.storage.fetch(records, folder / "records")
    up_to_transform.run(fetched, folder / "runs")

    def fetch(component: str, key: str) -> tuple[Path, Path]:
        (here,) = (folder / "runs" / "pipeline" / component / key).iterdir()
        uri = first.output(component, key)["uri"]
        return whole.cloud.world.storage.fetch(uri, folder / f"{component}-{key}"), here

    return fetch


@pytest.fixture(scope="module")
def second(whole, first, spec):
    """The same spec again."""
    run = whole.run(spec)
    print(whole.said(run))
    return run


@pytest.fixture(scope="module")
def refused(whole, second):
    """A run with a threshold that no model meets."""
    run = whole.run(whole.compile("refused", "gate.bounds=[{metric: loss, max: 1.0e-9}]"))
    print(whole.said(run))
    return run


def test_the_run_ends_with_a_version_that_answers(whole, first):
    told = whole.command("status", first.id)
    assert f"run {first.id}: succeeded" in told
    assert f"pushed projects/{PROJECT}/locations/{REGION}/models/pawprint@1" in told
    ((version, model),) = whole.vertex.prediction.models["pawprint"].items()
    assert version == "1"
    assert model.artifact_uri.startswith(first.output("Trainer", "model")["uri"])


@pytest.mark.parametrize("component", STEPS)
def test_a_component_is_one_job_on_dataflow(whole, first, component):
    machines, dataflow = whole.cloud.machines, whole.cloud.dataflow
    steps = {job: machines.steps(dataflow.jobs[job]) for job in first.jobs}
    (job,) = [job for job, names in steps.items() if any(STEPS[component] in n for n in names)]
    assert dataflow.states[job] == "JOB_STATE_DONE"
    assert len(first.jobs) == len(STEPS)
    # Dataflow got what the config asks for, and both hosts worked on it.
    assert dataflow.jobs[job]["name"] == f"{component.lower()}-{first.id}"
    check_job(dataflow.jobs[job], whole.config, run=first.id)
    assert all(machines.worked[job][host] > 0 for host in HOSTS), machines.worked


def test_examples_equal_those_of_a_run_on_this_machine(compared):
    for component, key, splits in (
        ("ImportExampleGen", "examples", ("train", "validation", "test")),
        ("Transform", "transformed_examples", ("train", "validation")),
    ):
        for split in splits:
            folders = (folder / f"Split-{split}" for folder in compared(component, key))
            there, here = map(up_to_transform.examples, folders)
            assert there == here != []


def test_statistics_and_schema_equal_those_of_a_run_on_this_machine(compared):
    import tensorflow_data_validation as tfdv

    def by_feature(folder, split):
        (found,) = tfdv.load_stats_binary(str(folder / f"Split-{split}/FeatureStats.pb")).datasets
        return found.num_examples, {tuple(f.path.step): f for f in found.features}

    for split in ("train", "validation", "test"):
        folders = compared("StatisticsGen", "statistics")
        there, here = (by_feature(folder, split) for folder in folders)
        assert there == here  # in whatever order of the features
        assert there[0] and there[1]
    there, here = (
        (folder / "schema.pbtxt").read_text() for folder in compared("RecordSchema", "schema")
    )
    assert there == here


def test_two_machines_trained_one_model(whole, first):
    ((name, job),) = whole.vertex.training.jobs.items()
    assert name.startswith(f"projects/{PROJECT}/locations/{REGION}/")
    assert job.labels["run"] == first.id
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    model = first.output("Trainer", "model")["uri"]
    (card,) = (n for n in whole.cloud.world.storage.names(model) if n.endswith("model_card.json"))
    settings = json.loads(whole.text(model + card))["provenance"]["settings"]
    assert settings["trainer"]["workers"] == 2
    (cluster,) = whole.vertex.training.clusters.values()
    assert [address.partition(":")[0] for pool in cluster.values() for address in pool] == [*HOSTS]


def test_the_endpoint_answers_a_photo_with_probabilities(whole, first, photos):
    answer = whole.predict(next(iter(sorted((photos / "cat").glob("*.jpg")))))
    assert answer["version"] == "1"
    (prediction,) = answer["predictions"]
    assert prediction["label"] in ("cat", "dog")
    assert sum(prediction["probabilities"]) == pytest.approx(1, abs=1e-4)
    assert len(prediction["probabilities"]) == 2


def test_the_second_run_finds_the_blessed_model(whole, first, second):
    baseline = second.output("LatestBlessedModel-model-resolver", "model")
    model = first.output("Trainer", "model")
    assert not first.tasks["LatestBlessedModel-model-resolver"]["outputs"]["model"]["artifacts"]
    assert baseline["name"] == model["name"]
    assert {second.states[task] for task in ("Transform", "Trainer")} == {"SKIPPED"}
    # It has a model to compare with now.
    assert second.states["Evaluator"] == second.states["Pusher"] == "SUCCEEDED"
    assert len(second.jobs) == 1
    blessing = second.output("QualityGate", "blessing")["uri"]
    assert json.loads(whole.text(f"{blessing}/verdict.json"))["baseline"]
    assert list(whole.vertex.prediction.models["pawprint"]) == ["1"]  # it is the same model


def test_a_refused_model_makes_no_call_to_the_prediction_service(whole, first, refused):
    blessing = refused.output("QualityGate", "blessing")
    assert not json.loads(whole.text(f"{blessing['uri']}/verdict.json"))["passed"]
    assert refused.states["Pusher"] == "SUCCEEDED"
    assert not refused.output("Pusher", "pushed_model")["metadata"]["pushed"]
    assert refused.asked == 0 < first.asked


def test_photos_are_predicted_in_bulk_on_dataflow(whole, first, photos, tmp_path):
    import tensorflow as tf

    paths = photo_folder.list_folder(str(photos))
    local = photo_folder.convert_folder(paths, str(tmp_path), lambda *_: None)
    for shard in Path(local.folder).glob(photo_folder.PATTERN):
        whole.cloud.world.storage.put(f"gs://bucket/bulk/{shard.name}", shard.read_bytes())
    jobs, model = len(whole.cloud.dataflow.jobs), first.output("Trainer", "model")["uri"]
    result = whole.predict_in_bulk("gs://bucket/bulk", model)
    dataflow, storage = whole.cloud.dataflow, whole.cloud.world.storage
    assert [dataflow.states[job] for job in list(dataflow.jobs)[jobs:]] == ["JOB_STATE_DONE"] * 2
    here = storage.fetch(f"{model.rstrip('/')}/Format-Serving", tmp_path / "model")
    told = results.write_predictions(
        str(storage.fetch(result, tmp_path / "result")),
        paths,
        read_labels(here),
        tmp_path / "result.csv",
    )
    ask = tf.saved_model.load(str(here)).signatures["serving_jpeg"]
    broken = {row["path"] for row in local.discarded}
    kept = [Path(path) for path in paths if path not in broken]
    answers = (ask(image_bytes=tf.constant([path.read_bytes()])) for path in kept)
    assert len(kept) == local.count > 0
    assert told == [answer["label"].numpy().item().decode() for answer in answers]


def test_the_pipeline_runs_from_the_users_machine_too(whole, records):
    """`beam`: the same components, their Beam work on Dataflow, and no Vertex AI Pipelines."""
    jobs, runs = len(whole.cloud.dataflow.jobs), len(whole.vertex.pipelines.jobs)
    trained = len(whole.vertex.training.jobs)
    root = f"root={whole.cloud.scratch / 'from-here'}"
    settings = ("name=from-here", "push.vertex.model=from-here", root)
    told = whole.command("beam", "--tfrecords", records, settings=settings)
    assert "Pushed version 1" in told
    dataflow = whole.cloud.dataflow
    started = list(dataflow.jobs)[jobs:]
    assert {dataflow.states[job] for job in started} == {"JOB_STATE_DONE"}
    (run,) = (whole.cloud.scratch / "from-here" / "runs").iterdir()
    names = {dataflow.jobs[job]["name"] for job in started}
    assert names == {f"{one.lower()}-from-here-{run.name}" for one in STEPS}
    assert len(whole.vertex.training.jobs) == trained + 1
    assert len(whole.vertex.pipelines.jobs) == runs
    assert list(whole.vertex.prediction.models["from-here"]) == ["1"]
