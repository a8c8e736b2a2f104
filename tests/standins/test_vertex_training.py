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
# Google's client as it is; what a replica sees is what its log holds.
_CLIENT = """
import json, sys, time
from google.cloud.aiplatform import gapic
client = gapic.JobServiceClient(client_options={"api_endpoint": sys.argv[1]})
pool = lambda n: {
    "machine_spec": {"machine_type": "n1-standard-4"},
    "replica_count": n,
    "container_spec": {"image_uri": "image:1", "command": ["python", "-c", sys.argv[2]]},
}
made = client.create_custom_job(
    parent="projects/p/locations/us-central1",
    custom_job={"display_name": "x", "job_spec": {"worker_pool_specs": json.loads(
        json.dumps([pool(int(n)) for n in sys.argv[3:]]))}},
)
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

        def ask(program: str, *pools: int) -> str:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", _CLIENT, _NAME, program, *map(str, pools)],
                cwd=REPOSITORY,
                env=environment,
                capture_output=True,
                text=True,
                timeout=120,
            )
            return done.stdout.strip() or done.stderr

        yield service, ask


def test_replicas_get_their_cluster_and_a_failure_is_told(training):
    service, ask = training
    assert ask("import os; print(os.environ['TF_CONFIG'])", 1, 2) == "JOB_STATE_SUCCEEDED"
    (logs,) = service.logs.values()
    seen = [json.loads(log.read_text()) for log in logs]
    assert [config["task"] for config in seen] == [
        {"type": "chief", "index": 0},
        {"type": "worker", "index": 0},
        {"type": "worker", "index": 1},
    ]
    clusters = [config["cluster"] for config in seen]
    assert clusters[0] == clusters[1] == clusters[2]
    assert {kind: len(hosts) for kind, hosts in clusters[0].items()} == {"chief": 1, "worker": 2}

    alone = "import os, sys; sys.exit(7 if 'TF_CONFIG' in os.environ else 3)"
    assert ask(alone, 1) == "JOB_STATE_FAILED The replica exited with a non-zero status of 3."
    assert "one replica in its first worker pool" in ask("pass", 2)
