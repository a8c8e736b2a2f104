"""Vertex AI's pipelines, schedules and custom jobs over REST, for the unmodified client.

Requests are parsed with the service's own protos, so a field that it does not have is an error.
Given a `PipelinesStandIn`, runs are executed; otherwise they stay where a test puts them.
API: https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.pipelineJobs
"""

from __future__ import annotations

import json
import re
import threading

from google.cloud.aiplatform_v1.types import (
    CreatePipelineJobRequest,
    CreateScheduleRequest,
    PipelineJob,
    PipelineTaskDetail,
    Schedule,
)
from google.protobuf import json_format

from pipeline.vertex.compiled import check
from tests.standins.http_service import Answer, HttpService, Request, error, route
from tests.standins.vertex_pipelines import PipelinesStandIn, TaskRun, now

_PARENT = r"/v1/(projects/[^/]+/locations/[^/]+)"
_OVER = ("PIPELINE_STATE_SUCCEEDED", "PIPELINE_STATE_FAILED", "PIPELINE_STATE_CANCELLED")


class VertexStandIn(HttpService):
    """The service.

    Attributes:
        jobs: Run id to the PipelineJob as JSON.
        schedules: Schedule id to the Schedule as JSON.
        custom_jobs: Full name to the CustomJob as JSON, as a test or a container put it there.
        lose_answers: How many answers to a run or schedule are dropped, though it was made.
    """

    def __init__(self, executor: PipelinesStandIn | None = None):
        super().__init__()
        self.jobs: dict[str, dict] = {}
        self.schedules: dict[str, dict] = {}
        self.custom_jobs: dict[str, dict] = {}
        self.lose_answers = 0
        self._executor = executor
        self._threads: dict[str, threading.Thread] = {}

    def refuse(self, status: int, reason: str, message: str, times: int = 1 << 30) -> None:
        """Answers every request with an error in the form that Vertex AI gives it."""
        body = {"error": {"code": status, "status": reason, "message": message}}
        self._failures.append((lambda request: True, Answer(body, status), [times]))

    def finish(self, run: str) -> None:
        """Waits until a run is over."""
        self._threads[run].join()

    def set_state(self, run: str, state: str, *tasks: TaskRun, message: str = "") -> None:
        """Puts a run, and these tasks of it, into a state."""
        job = self.jobs[run]
        job["state"] = state
        job["startTime"] = job["createTime"]
        job["endTime"] = now()
        if message:
            job["error"] = {"code": 9, "message": message}
        job["jobDetail"] = {"taskDetails": [{"taskId": "1", "taskName": run}, *map(_detail, tasks)]}

    @route("POST", _PARENT + r"/pipelineJobs")
    def _create(self, request: Request, parent: str) -> Answer:
        run = request.query["pipelineJobId"]
        try:
            asked = _parse(request, PipelineJob)
            CreatePipelineJobRequest(parent=parent, pipeline_job=asked, pipeline_job_id=run)
            check(request.json)
        except json_format.ParseError as wrong:
            return error(400, str(wrong))
        if run in self.jobs:
            return error(409, f"{run} exists already")
        job = request.json | {
            "name": f"{parent}/pipelineJobs/{run}",
            "state": "PIPELINE_STATE_PENDING",
            "createTime": now(),
        }
        self.jobs[run] = job
        if self._executor:
            thread = threading.Thread(target=self._execute, args=(run,), daemon=True)
            self._threads[run] = thread
            thread.start()
        return self._made(job)

    @route("GET", _PARENT + r"/pipelineJobs/([^/:]+)")
    def _get(self, request: Request, parent: str, run: str) -> Answer:
        if run not in self.jobs:
            return error(404, f"The PipelineJob {run} does not exist.")
        return Answer(self.jobs[run])

    @route("POST", _PARENT + r"/pipelineJobs/([^/:]+):cancel")
    def _cancel(self, request: Request, parent: str, run: str) -> Answer:
        if run not in self.jobs:
            return error(404, f"The PipelineJob {run} does not exist.")
        if self.jobs[run]["state"] in _OVER:
            return error(400, f"The PipelineJob {run} is in a final state.")
        self.jobs[run]["state"] = "PIPELINE_STATE_CANCELLING"
        if self._executor:
            self._executor.cancel(run)
        return Answer({})

    @route("POST", _PARENT + r"/schedules")
    def _schedule(self, request: Request, parent: str) -> Answer:
        try:
            asked = _parse(request, Schedule)
            CreateScheduleRequest(parent=parent, schedule=asked)
            check(request.json["createPipelineJobRequest"]["pipelineJob"])
        except json_format.ParseError as wrong:
            return error(400, str(wrong))
        if len(asked.cron.split()) not in (5, 6):
            return error(400, f"Invalid cron expression: {asked.cron}")
        made = str(1000 + len(self.schedules))
        self.schedules[made] = request.json | {
            "name": f"{parent}/schedules/{made}",
            "state": "ACTIVE",
            "createTime": now(),
        }
        return self._made(self.schedules[made])

    @route("GET", _PARENT + r"/schedules")
    def _list_schedules(self, request: Request, parent: str) -> Answer:
        name = re.fullmatch(r'display_name="(.*)"', request.query["filter"])[1]
        return Answer(
            {"schedules": [one for one in self.schedules.values() if one["displayName"] == name]}
        )

    @route("GET", _PARENT + r"/customJobs")
    def _list_custom_jobs(self, request: Request, parent: str) -> Answer:
        label, value = re.fullmatch(r'labels\.(\w+)="(.*)"', request.query["filter"]).groups()
        jobs = self.custom_jobs.values()
        return Answer({"customJobs": [job for job in jobs if job["labels"].get(label) == value]})

    @route("GET", r"/v1/(projects/[^/]+/locations/[^/]+/customJobs/[^/:]+)")
    def _get_custom_job(self, request: Request, name: str) -> Answer:
        return Answer(self.custom_jobs[name])

    @route("POST", r"/v1/(projects/[^/]+/locations/[^/]+/customJobs/[^/]+):cancel")
    def _cancel_custom_job(self, request: Request, name: str) -> Answer:
        self.custom_jobs[name]["state"] = "JOB_STATE_CANCELLED"
        return Answer({})

    @route("GET", _PARENT + r"/schedules/(\d+)")
    def _get_schedule(self, request: Request, parent: str, made: str) -> Answer:
        if made not in self.schedules:
            return error(404, f"The Schedule {made} does not exist.")
        return Answer(self.schedules[made])

    @route("DELETE", _PARENT + r"/schedules/(\d+)")
    def _delete_schedule(self, request: Request, parent: str, made: str) -> Answer:
        if self.schedules.pop(made, None) is None:
            return error(404, f"The Schedule {made} does not exist.")
        done = {"@type": "type.googleapis.com/google.protobuf.Empty"}
        return Answer({"name": f"{parent}/operations/1", "done": True, "response": done})

    def _made(self, resource: dict) -> Answer:
        if self.lose_answers:
            self.lose_answers -= 1
            return error(503, "the answer was lost")
        return Answer(resource)

    def _execute(self, run: str) -> None:
        job = self.jobs[run]

        def changed(tasks: dict[str, TaskRun]) -> None:
            if job["state"] != "PIPELINE_STATE_CANCELLING":
                self.set_state(run, "PIPELINE_STATE_RUNNING", *tasks.values())

        tasks = self._executor.run(job, run, changed)
        failed = sorted(task.name for task in tasks.values() if task.state == "FAILED")
        if failed:
            message = (
                "The DAG failed because some tasks failed. The failed tasks are: "
                f"[{', '.join(failed)}]."
            )
            self.set_state(run, "PIPELINE_STATE_FAILED", *tasks.values(), message=message)
        else:
            ended = "CANCELLED" if job["state"] == "PIPELINE_STATE_CANCELLING" else "SUCCEEDED"
            self.set_state(run, f"PIPELINE_STATE_{ended}", *tasks.values())


def _parse(request: Request, kind):
    """The body as a message of the service."""
    return kind.from_json(json.dumps(request.json), ignore_unknown_fields=False)


def _detail(task: TaskRun) -> dict:
    """A PipelineTaskDetail."""
    detail = {
        "taskId": str(abs(hash(task.name))),
        "taskName": task.name,
        "state": task.state,
        "createTime": now(),
        **({"startTime": task.started} if task.started else {}),
        **({"endTime": task.ended} if task.ended else {}),
        "outputs": {
            key: {
                "artifacts": [
                    {"name": a.name, "uri": a.uri, "schemaTitle": a.title, "metadata": a.metadata}
                    for a in artifacts
                ]
            }
            for key, artifacts in task.outputs.items()
        },
    }
    if task.log:
        job = f"projects/1/locations/here/customJobs/{task.log.parent.name}"
        detail["executorDetail"] = {"containerDetail": {"mainJob": job}}
    if task.error:
        detail["error"] = {"code": 9, "message": task.error}
    json_format.ParseDict(detail, PipelineTaskDetail()._pb)
    return detail
