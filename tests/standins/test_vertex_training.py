"""The stand-in of custom jobs: reached by Google's name, it gives each replica its cluster."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.standins.accounts import TokenStandIn
from tests.standins.certificates import make_certificates
from tests.standins.proxy import Proxy
from tests.standins.vertex_training import TrainingStandIn

_NAME = "us-central1-aiplatform.googleapis.com"
# Google's client as it is, asked for one job after the other; each leaves a line.
_CLIENT = """
import json, sys, time
from google.api_core.exceptions import InvalidArgument
from google.cloud.aiplatform import gapic
client = gapic.JobServiceClient(client_options={"api_endpoint": sys.argv[1]})
def pool(program, count):
    return {
        "machine_spec": {"machine_type": "n1-standard-4"},
        "replica_count": count,
        "container_spec": {"image_uri": "image:1", "command": ["python", "-c", program]},
    }
for program, *pools in json.loads(sys.argv[2]):
    spec = {"worker_pool_specs": [pool(program, count) for count in pools]}
    try:
        made = client.create_custom_job(
            parent="projects/p/locations/us-central1",
            custom_job={"display_name": "x", "job_spec": spec},
        )
    except InvalidArgument as refused:
        print(refused)
        continue
    while (job := client.get_custom_job(name=made.name)).state.name == "JOB_STATE_RUNNING":
        time.sleep(0.1)
    print(job.state.name, job.error.message)
"""


@pytest.fixture
def training(tmp_path):
    certificates = make_certificates(tmp_path, [_NAME])
    with (
        TrainingStandIn(tmp_path / "jobs", certificates) as service,
        Proxy(service.address) as proxy,
        TokenStandIn() as tokens,
    ):
        environment = os.environ | {
            "https_proxy": proxy.url,
            "no_proxy": "127.0.0.1,localhost",
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificates.authority),
            "GOOGLE_APPLICATION_CREDENTIALS": str(tokens.write_key(tmp_path / "key.json")),
            "NO_GCE_CHECK": "true",
        }

        def ask(*jobs: tuple) -> list[str]:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", _CLIENT, _NAME, json.dumps(jobs)],
                cwd=REPOSITORY,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert done.returncode == 0, done.stderr
            return [line.strip() for line in done.stdout.splitlines()]

        yield service, ask


def test_replicas_get_their_cluster_and_a_failure_is_told(training):
    service, ask = training
    alone = "import os, sys; sys.exit(7 if 'TF_CONFIG' in os.environ else 3)"
    succeeded, failed, refused = ask(
        ("import os; print(os.environ['TF_CONFIG'])", 1, 2), (alone, 1), ("pass", 2)
    )
    assert succeeded == "JOB_STATE_SUCCEEDED"
    assert failed == "JOB_STATE_FAILED The replica exited with a non-zero status of 3."
    assert "one replica in its first worker pool" in refused
    logs, _ = service.logs.values()
    seen = [json.loads(log.read_text()) for log in logs]
    assert [config["task"] for config in seen] == [
        {"type": "chief", "index": 0},
        {"type": "worker", "index": 0},
        {"type": "worker", "index": 1},
    ]
    clusters = [config["cluster"] for config in seen]
    assert clusters[0] == clusters[1] == clusters[2]
    assert {kind: len(hosts) for kind, hosts in clusters[0].items()} == {"chief": 1, "worker": 2}
