"""The compiled pipeline, executed container by container, against the run on this machine."""

import json
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline.config.schema import Config
from pipeline.run.ingest import describe
from pipeline.vertex import commands, compiled, runs, status
from tests.conftest import QUICK
from tests.pipeline.cloud import up_to_transform
from tests.pipeline.cloud.conftest import Cloud
from tests.pipeline.cloud.settings import BUCKET, IMAGE, PROJECT, REGION, cloud_config
from tests.standins.accounts import TokenStandIn
from tests.standins.certificates import make_certificates
from tests.standins.proxy import Proxy
from tests.standins.storage import StorageStandIn
from tests.standins.vertex_pipelines import PipelinesStandIn
from tests.standins.vertex_service import VertexStandIn
from tests.standins.vertex_training import TrainingStandIn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]  # a busy machine takes long

_HERE = ("cloud.dataflow=null", "cloud.training=null", "push={target: folder, vertex: null}")


@dataclass
class Executed:
    """A run that failed in the middle, and the same submitted again."""

    cloud: Cloud
    service: PipelinesStandIn
    bucket: Path
    config: Config
    spec: Path
    failed: str
    run: str


@pytest.fixture(scope="module")
def executed(pushed_run, tmp_path_factory):
    """The records of the local run, its settings, and Vertex AI in the place of this machine."""
    folder = tmp_path_factory.mktemp("vertex")
    bucket = folder / "bucket"
    (records,) = (p for p in (pushed_run.root / "records").iterdir() if p.is_dir())
    shutil.copytree(records, bucket / "pawprint" / "records" / records.name)
    service = PipelinesStandIn(folder / "containers", {BUCKET: bucket})
    with (
        pytest.MonkeyPatch.context() as patch,
        StorageStandIn(BUCKET) as storage,
        TokenStandIn() as tokens,
        VertexStandIn(service) as vertex_ai,
    ):
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tokens.write_key(folder / "key.json")))
        patch.setenv("STORAGE_EMULATOR_HOST", storage.url)
        patch.setenv("NO_GCE_CHECK", "true")
        options = [setting.removeprefix("--set=") for setting in QUICK]
        config = cloud_config(f"cloud.endpoint={vertex_ai.url}", *_HERE, *options)
        described = describe(str(records))
        address = f"gs://{BUCKET}/pawprint/records/{records.name}"
        config = config.model_copy(
            update={"records": described.model_copy(update={"path": address})}
        )
        spec = folder / "pipeline.json"
        compiled.write(compiled.compile_pipeline(config), spec)
        service.broken.add("Evaluator")
        failed = runs.submit(config, spec)
        vertex_ai.finish(failed)
        service.broken.clear()
        time.sleep(1)  # the id of a run is its second
        run = runs.submit(config, spec)
        vertex_ai.finish(run)
        yield Executed(
            Cloud(vertex_ai, storage, tokens), service, bucket, config, spec, failed, run
        )


def read(executed, run):
    return status.read(executed.config, runs.get(executed.config, run))


def output(executed, task, key) -> Path:
    """The folder of an output of the run."""
    (detail,) = (
        detail
        for detail in runs.get(executed.config, executed.run).job_detail.task_details
        if detail.task_name == task
    )
    (artifact,) = detail.outputs[key].artifacts
    return Path(executed.service.here(artifact.uri))


def local(pushed_run, component, key) -> Path:
    (folder,) = (pushed_run.root / "pipeline" / component / key).iterdir()
    return folder


def test_the_run_ends_with_a_pushed_model(executed):
    found = read(executed, executed.run)
    assert found.state == "succeeded"
    assert found.pushed == f"gs://{BUCKET}/pawprint/serving/1"
    assert (executed.bucket / "pawprint/serving/1/saved_model.pb").is_file()


def test_the_failed_run_names_the_task_and_its_log(executed, capsys):
    found = read(executed, executed.failed)
    states = {task.name: task.state for task in found.tasks}
    assert states["Trainer"] == "done"
    assert states["Evaluator"] == "failed"
    assert states["Pusher"] == "not started"
    assert commands.show_status(executed.config, executed.failed) == 1
    told = capsys.readouterr().out
    assert "error: Evaluator failed: The replica workerpool0-0 exited" in told
    assert "log: https://console.cloud.google.com/logs/query" in told


def test_a_repeated_run_reuses_completed_tasks(executed):
    states = {task.name: task.state for task in read(executed, executed.run).tasks}
    cached = {name for name, state in states.items() if state == "cached"}
    assert cached == {
        "ImportExampleGen",
        "StatisticsGen",
        "RecordSchema",
        "ExampleValidator",
        "Transform",
        "Trainer",
    } | ({"ServingCheck"} & cached)
    assert states["Evaluator"] == states["QualityGate"] == states["Pusher"] == "done"
    drivers = [c for task, c in executed.service.commands if "file_based_example_gen" in str(c)]
    assert len(drivers) == 2  # the input is looked at again, and found unchanged


def test_every_container_ran_by_the_command_of_the_spec(executed):
    tasks = [task for task, _ in executed.service.commands]
    assert set(tasks) >= {"ImportExampleGen", "Transform", "Trainer", "Evaluator", "Pusher"}
    for _, command in executed.service.commands:
        assert command[:2] == ["python", "-m"]
        assert command[2].startswith("tfx.orchestration.kubeflow.v2.")


def test_records_statistics_and_schema_equal_the_local_runs(executed, pushed_run):
    import tensorflow as tf
    import tensorflow_data_validation as tfdv

    for split in ("train", "validation", "test"):
        counts = []
        for folder in (
            output(executed, "ImportExampleGen", "examples"),
            local(pushed_run, "ImportExampleGen", "examples"),
        ):
            files = [str(path) for path in (folder / f"Split-{split}").iterdir()]
            counts.append(sum(1 for _ in tf.data.TFRecordDataset(files, compression_type="GZIP")))
        assert counts[0] == counts[1] > 0
        there, here = (
            tfdv.load_stats_binary(str(folder / f"Split-{split}" / "FeatureStats.pb"))
            for folder in (
                output(executed, "StatisticsGen", "statistics"),
                local(pushed_run, "StatisticsGen", "statistics"),
            )
        )
        assert there == here
    there, here = (
        (folder / "schema.pbtxt").read_text()
        for folder in (
            output(executed, "RecordSchema", "schema"),
            local(pushed_run, "RecordSchema", "schema"),
        )
    )
    assert there == here


def test_the_transformed_examples_equal_the_local_runs(executed, pushed_run):
    there, here = (
        up_to_transform.examples(folder / "Split-train")
        for folder in (
            output(executed, "Transform", "transformed_examples"),
            local(pushed_run, "Transform", "transformed_examples"),
        )
    )
    assert there == here != []


def test_the_metrics_are_the_local_runs_within_tolerance(executed, pushed_run):
    there, here = (
        json.loads((folder / "verdict.json").read_text())
        for folder in (
            output(executed, "QualityGate", "blessing"),
            local(pushed_run, "QualityGate", "blessing"),
        )
    )
    assert there["passed"] and here["passed"]
    figures = [_figures(verdict["metrics"]) for verdict in (there, here)]
    assert figures[0].keys() == figures[1].keys()
    for name, value in figures[0].items():
        if name.endswith("example_count"):
            assert value == figures[1][name]
        elif name.endswith(("loss", "accuracy")):
            assert value == pytest.approx(figures[1][name], abs=0.15), name


def _figures(table, name="") -> dict[str, float]:
    """The numbers in nested dicts, by their path."""
    if not isinstance(table, dict):
        return {name: table} if isinstance(table, int | float) else {}
    return {k: v for key, part in table.items() for k, v in _figures(part, f"{name}/{key}").items()}


def test_the_exported_models_have_the_same_labels_and_signatures(executed, pushed_run):
    there, here = (
        json.loads(next(folder.rglob("model_card.json")).read_text())["model_parameters"]
        for folder in (output(executed, "Trainer", "model"), local(pushed_run, "Trainer", "model"))
    )
    assert "in order: ['cat', 'dog']" in str(here["output_format_map"])
    assert there == here


def test_the_next_run_finds_the_blessed_model(executed):
    time.sleep(1)  # the id of a run is its second
    run = runs.submit(executed.config, executed.spec)
    executed.cloud.vertex.finish(run)
    tasks = executed.cloud.vertex.jobs[run]["jobDetail"]["taskDetails"]
    (baseline,) = (t for t in tasks if t["taskName"] == "LatestBlessedModel-model-resolver")
    (model,) = baseline["outputs"]["model"]["artifacts"]
    assert executed.service.here(model["uri"]) == str(output(executed, "Trainer", "model"))
    found = read(executed, run)
    assert found.state == "succeeded"
    states = {task.name: task.state for task in found.tasks}
    assert states["Trainer"] == "cached"
    assert states["Evaluator"] == "done"  # it has a model to compare with now
    (gate,) = (t for t in tasks if t["taskName"] == "QualityGate")
    (blessing,) = gate["outputs"]["blessing"]["artifacts"]
    verdict = Path(executed.service.here(blessing["uri"])) / "verdict.json"
    assert json.loads(verdict.read_text())["baseline"]


@pytest.fixture(scope="module")
def trained_by_a_job(executed, tmp_path_factory):
    """The same pipeline with a chief and a worker: from the cache up to the Trainer."""
    folder = tmp_path_factory.mktemp("training")
    name = f"{REGION}-aiplatform.googleapis.com"
    certificates = make_certificates(folder, [name])
    with (
        TrainingStandIn(folder / "replicas", certificates) as training,
        Proxy(training.address) as proxy,
        pytest.MonkeyPatch.context() as patch,
    ):
        for variable, value in {
            "https_proxy": proxy.url,
            "no_proxy": "127.0.0.1,localhost",
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificates.authority),
            "GOOGLE_APPLICATION_CREDENTIALS": os.environ["GOOGLE_APPLICATION_CREDENTIALS"],
            "NO_GCE_CHECK": "true",
        }.items():
            patch.setitem(executed.service.environment, variable, value)
        pools = cloud_config(
            "cloud.training.chief={preset: CPU}",
            "cloud.training.worker={machine_type: n1-standard-4}",
            "cloud.training.timeout_h=1",
            "cloud.labels={team: cats}",
        ).cloud
        place = {"training": pools.training, "labels": pools.labels}
        cloud = executed.config.cloud.model_copy(update=place)
        config = executed.config.model_copy(update={"cloud": cloud})
        spec = executed.spec.with_name("with-a-job.json")
        compiled.write(compiled.compile_pipeline(config), spec)
        run = runs.submit(config, spec)
        executed.cloud.vertex.finish(run)
        yield replace(executed, config=config, run=run), training, proxy


def test_the_trainers_job_is_what_the_config_asks_for(trained_by_a_job):
    run, training, proxy = trained_by_a_job
    assert f"{REGION}-aiplatform.googleapis.com:443" in proxy.asked
    ((name, job),) = training.jobs.items()
    assert name.startswith(f"projects/{PROJECT}/locations/{REGION}/")
    chief, worker = job.job_spec.worker_pool_specs
    for pool in (chief, worker):
        assert pool.machine_spec.machine_type == "n1-standard-4"
        assert pool.container_spec.image_uri == IMAGE
        assert list(pool.container_spec.command[:3]) == ["python", "-m", "tfx.scripts.run_executor"]
    assert job.job_spec.service_account == run.config.cloud.service_account
    assert job.job_spec.scheduling.timeout.total_seconds() == 3600
    assert job.labels["team"] == "cats"


def test_two_replicas_train_one_model_that_is_pushed(trained_by_a_job):
    run, training, _ = trained_by_a_job
    ended = read(run, run.run)
    (logs,) = training.logs.values()
    assert ended.state == "succeeded", "\n".join(log.read_text()[-3000:] for log in logs)
    assert {task.name: task.state for task in ended.tasks}["Transform"] == "cached"
    card = next(output(run, "Trainer", "model").rglob("model_card.json"))
    assert json.loads(card.read_text())["provenance"]["settings"]["trainer"]["workers"] == 2
    assert ended.pushed == f"gs://{BUCKET}/pawprint/serving/2"
