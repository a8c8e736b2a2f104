"""Every Beam component as a job on Dataflow, over gs:// paths, from client to finished artifact.

The client, its machine and the workers are hosts of their own (`tests/standins/world.py`). Workers
hold the locked requirements and their image's packages, and nothing else of the project.
"""

import pytest

from tests.pipeline.cloud.dataflow_cloud import IMAGE, dataflow_cloud

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

# In the order in which they run, with a step that only their graph has.
STEPS = {
    "ImportExampleGen": "WriteSplit[train]",
    "StatisticsGen": "GenerateStatistics[train]",
    "Transform": "Analyze",
    "Evaluator": "ExtractEvaluateAndWriteResults",
}


@pytest.fixture(scope="module")
def cloud(photos, tmp_path_factory):
    with dataflow_cloud(photos, tmp_path_factory.mktemp("dataflow")) as made:
        yield made


@pytest.fixture(scope="module")
def finished(cloud):
    """A run of all Beam components with the project's image: what it said, and the ids of its jobs,
    that of the conversion first."""
    done = cloud.run("finished", IMAGE)
    print(done.stdout, done.stderr[-8000:])
    return done.stdout, list(cloud.dataflow.jobs)


@pytest.mark.parametrize("component", STEPS)
def test_a_component_is_one_job_of_its_own_steps(cloud, finished, component):
    output, jobs = finished
    assert f"{component} complete" in output
    job_id = jobs[1 + list(STEPS).index(component)]
    assert cloud.dataflow.states[job_id] == "JOB_STATE_DONE", cloud.dataflow.messages[job_id]
    steps = cloud.machines.steps(cloud.dataflow.jobs[job_id])
    assert any(STEPS[component] in step for step in steps), steps


def test_both_hosts_worked(cloud, finished):
    assert all(cloud.machines.bundles(host) > 5 for host in ("worker-1", "worker-2"))
