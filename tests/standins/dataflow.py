"""Dataflow's job service: takes jobs from the unmodified client and has them run.

API: https://cloud.google.com/dataflow/docs/reference/rest/v1b3/projects.locations.jobs
"""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
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
_JOBS = r"/v1b3/projects/([^/]+)/locations/([^/]+)/jobs"
_ENDED = ("JOB_STATE_DONE", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED")


class JobFailed(Exception):
    """A worker failed; the text is what it said."""


class DataflowStandIn(HttpService):
    """The service.

    Args:
        machines: Runs a job, raising JobFailed when it fails; called in a thread of its own. None
            leaves jobs pending.

    Attributes:
        jobs: Job id to the job as it was sent.
        states: Job id to its state.
        messages: Job id to what the job's log says, most important last.
    """

    def __init__(self, machines: Callable[[dict], None] | None = None):
        super().__init__()
        self.jobs: dict[str, dict] = {}
        self.states: dict[str, str] = {}
        self.messages: dict[str, list[dict]] = {}
        self._machines = machines
        self._schema = discovery.schema("dataflow", "v1b3", "Job")
        self._creating = threading.Lock()

    @route("POST", _JOBS)
    def _create(self, request: Request, project: str, region: str) -> Answer:
        job = request.json
        try:
            discovery.check(job, self._schema)
        except jsonschema.ValidationError as wrong:
            return error(400, f"{wrong.json_path}: {wrong.message}")
        with self._creating:
            for known, other in self.jobs.items():
                if other.get("clientRequestId") == job.get("clientRequestId"):  # a reply was lost
                    return self._described(known)
                if other["name"] == job["name"] and self.states[known] not in _ENDED:
                    return error(409, f"A job named {job['name']} is running already")
            made = f"2026-01-01_00_00_00-{len(self.jobs) + 1}"
            self.jobs[made] = job | {"id": made, "projectId": project, "location": region}
            self.states[made], self.messages[made] = "JOB_STATE_PENDING", []
        if self._machines:
            threading.Thread(target=self._run, args=[made], daemon=True).start()
        return self._described(made)

    @route("GET", _JOBS)
    def _list(self, request: Request, project: str, region: str) -> Answer:
        """Summaries, as the service gives them: without labels and options."""
        assert request.query["filter"] == "ACTIVE", "no other filter is known here"
        fields = ("id", "name", "projectId", "location")
        active = [job for made, job in self.jobs.items() if self.states[made] not in _ENDED]
        shown = [
            {field: job[field] for field in fields} | {"currentState": self.states[job["id"]]}
            for job in active
            if (job["projectId"], job["location"]) == (project, region)
        ]
        return Answer({"jobs": shown})

    @route("GET", rf"{_JOBS}/([^/]+)")
    def _get(self, request: Request, project: str, region: str, job_id: str) -> Answer:
        return self._described(job_id) if job_id in self.jobs else error(404, f"no job {job_id}")

    @route("PUT", rf"{_JOBS}/([^/]+)")
    def _update(self, request: Request, project: str, region: str, job_id: str) -> Answer:
        if job_id not in self.jobs:
            return error(404, f"no job {job_id}")
        if request.json.get("requestedState") != "JOB_STATE_CANCELLED":
            return error(400, "only cancelling is known here")
        self.cancel(job_id)
        return self._described(job_id)

    @route("GET", rf"{_JOBS}/([^/]+)/messages")
    def _log(self, request: Request, project: str, region: str, job_id: str) -> Answer:
        return Answer({"jobMessages": self.messages.get(job_id, [])})

    @route("GET", rf"{_JOBS}/([^/]+)/metrics")
    def _metrics(self, request: Request, project: str, region: str, job_id: str) -> Answer:
        return Answer({"metrics": []})

    def cancel(self, job_id: str) -> None:
        """What a user does in the console."""
        if self.states[job_id] not in _ENDED:
            self.states[job_id] = "JOB_STATE_CANCELLED"

    def wait(self, job_id: str, timeout_s: float = 300) -> str:
        """The state in which a job ended, or was left."""
        until = time.monotonic() + timeout_s
        while self.states[job_id] not in _ENDED and time.monotonic() < until:
            time.sleep(0.1)
        return self.states[job_id]

    def _described(self, job_id: str) -> Answer:
        return Answer(self.jobs[job_id] | {"currentState": self.states[job_id]})

    def _run(self, job_id: str) -> None:
        self.states[job_id] = "JOB_STATE_RUNNING"
        try:
            self._machines(self.jobs[job_id])
            ended = "JOB_STATE_DONE"
        except JobFailed as failure:
            self._say(job_id, "JOB_MESSAGE_ERROR", str(failure))
            ended = "JOB_STATE_FAILED"
        except Exception as wrong:  # of the stand-in itself
            self._say(job_id, "JOB_MESSAGE_ERROR", f"the stand-in broke: {wrong!r}")
            ended = "JOB_STATE_FAILED"
        if self.states[job_id] not in _ENDED:
            self.states[job_id] = ended

    def _say(self, job_id: str, importance: str, text: str) -> None:
        now = datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
        said = {"id": str(len(self.messages[job_id])), "time": now}
        self.messages[job_id].append(said | {"messageImportance": importance, "messageText": text})

    def execute(self, job_id: str, storage: StorageStandIn, scratch: Path) -> None:
        """Runs a job here as a worker would: the staged pipeline with the staged package.

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
