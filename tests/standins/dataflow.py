"""Dataflow's job service: takes jobs from the unmodified client and can run what was staged.

API: https://cloud.google.com/dataflow/docs/reference/rest/v1b3/projects.locations.jobs
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import jsonschema

from tests.standins import discovery
from tests.standins.http_service import Answer, HttpService, Request, error, route
from tests.standins.storage import StorageStandIn

# Runs a staged pipeline with the code of the staged package and none of the project's own.
_WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
import data
assert data.__file__.startswith(sys.argv[1]), data.__file__
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
staged = beam_runner_api_pb2.Pipeline.FromString(open(sys.argv[2], "rb").read())
options = PipelineOptions(["--runner=FnApiRunner"])
beam.Pipeline.from_runner_api(staged, beam.runners.create_runner("FnApiRunner"), options).run()
for heavy in ("tensorflow", "tfx", "models", "pipeline"):
    assert heavy not in sys.modules, heavy
"""


class DataflowStandIn(HttpService):
    """The service.

    Attributes:
        jobs: Job id to the job as it was sent.
    """

    def __init__(self):
        super().__init__()
        self.jobs: dict[str, dict] = {}
        self._schema = discovery.schema("dataflow", "v1b3", "Job")

    @route("POST", r"/v1b3/projects/([^/]+)/locations/([^/]+)/jobs")
    def _create(self, request: Request, project: str, region: str) -> Answer:
        job = request.json
        try:
            discovery.check(job, self._schema)
        except jsonschema.ValidationError as wrong:
            return error(400, f"{wrong.json_path}: {wrong.message}")
        if any(job["name"] == other["name"] for other in self.jobs.values()):
            return error(409, f"A job named {job['name']} is running already")
        made = f"2026-01-01_00_00_00-{len(self.jobs) + 1}"
        self.jobs[made] = job
        state = {"id": made, "projectId": project, "location": region}
        return Answer(job | state | {"currentState": "JOB_STATE_PENDING"})

    def execute(self, job_id: str, storage: StorageStandIn, scratch: Path) -> None:
        """Runs a job as a worker would: the staged pipeline with the staged package.

        Raises:
            subprocess.CalledProcessError: The pipeline failed.
        """
        options = self.jobs[job_id]["environment"]["sdkPipelineOptions"]["options"]
        pipeline = scratch / "pipeline.pb"
        pipeline.write_bytes(storage.get(options["pipelineUrl"]))
        package = scratch / "workflow.tar.gz"
        package.write_bytes(storage.get(f"{options['staging_location']}/workflow.tar.gz"))
        with tarfile.open(package) as archive:
            archive.extractall(scratch, filter="data")
        (code,) = (path.parent for path in scratch.glob("*/setup.py"))
        environment = os.environ | {"STORAGE_EMULATOR_HOST": storage.url}
        subprocess.run(
            [sys.executable, "-c", _WORKER, str(code), str(pipeline)],
            env=environment,
            cwd=scratch,
            check=True,
        )
