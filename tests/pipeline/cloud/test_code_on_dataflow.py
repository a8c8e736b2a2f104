"""How Dataflow's workers get the project's code, and what is said where they do not."""

import pytest

from tests.conftest import REPOSITORY
from tests.pipeline.cloud.dataflow_cloud import BEAMS_OWN, SETTINGS, dataflow_cloud

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def cloud(photos, tmp_path_factory):
    with dataflow_cloud(photos, tmp_path_factory.mktemp("dataflow")) as made:
        yield made


def test_workers_without_the_project_fail_and_the_message_says_what_to_set(cloud):
    settings = [f"cloud.image={BEAMS_OWN}", f"root={cloud.scratch / 'bare'}", "name=bare"]
    done = cloud.python(
        *("runner_dataflow.py", "compile", "--images", "gs://bucket/photos"),
        *("--output", cloud.scratch / "pipeline.json"),
        *(f"--set={setting}" for setting in (*SETTINGS, *settings)),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "The photos were not converted. Dataflow job 2026" in done.stderr
    assert "found no module 'data'" in done.stderr
    assert "cloud.image" in done.stderr and "--setup_file" in done.stderr
    assert not (cloud.scratch / "pipeline.json").exists()


def test_the_project_s_own_setup_file_is_enough_for_workers(cloud):
    code = """
import sys, data
made = data.convert(
    "gs://bucket/photos", tfrecord_dir="gs://bucket/by-setup-file/records", encoding="jpeg",
    runner="DataflowRunner", project="my-project", region="europe-west4", max_bad_fraction=0.05,
    dataflow_options={"setup_file": sys.argv[1]},
)
print(made["job_id"])
"""
    done = cloud.python("-c", code, REPOSITORY / "setup.py")
    assert done.returncode == 0, done.stderr[-3000:]
    job_id = done.stdout.split()[-1]
    assert cloud.dataflow.wait(job_id) == "JOB_STATE_DONE", cloud.dataflow.messages[job_id]
    (pool,) = cloud.dataflow.jobs[job_id]["environment"]["workerPools"]
    assert any(p["location"].endswith("/workflow.tar.gz") for p in pool["packages"])
    assert "manifest.json" in cloud.world.storage.names("gs://bucket/by-setup-file/records/")
