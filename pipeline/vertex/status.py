"""Status of a run on Vertex AI: its tasks, their errors and their logs."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from data.errors import DataError
from data.storage import files
from pipeline.artifacts.names import VERDICT_FILE
from pipeline.cloud import resources
from pipeline.config.schema import Config
from pipeline.gate.verdict_table import verdict_table
from pipeline.vertex.runs import console_url

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import PipelineJob, PipelineTaskDetail

_RUN_STATES = {
    "PIPELINE_STATE_QUEUED": "waiting",
    "PIPELINE_STATE_PENDING": "waiting",
    "PIPELINE_STATE_RUNNING": "running",
    "PIPELINE_STATE_SUCCEEDED": "succeeded",
    "PIPELINE_STATE_FAILED": "failed",
    "PIPELINE_STATE_CANCELLING": "being cancelled",
    "PIPELINE_STATE_CANCELLED": "cancelled",
    "PIPELINE_STATE_PAUSED": "paused",
}
_TASK_STATES = {
    "PENDING": "waiting",
    "RUNNING": "running",
    "SUCCEEDED": "done",
    "CANCEL_PENDING": "being cancelled",
    "CANCELLING": "being cancelled",
    "CANCELLED": "cancelled",
    "FAILED": "failed",
    "SKIPPED": "cached",
    "NOT_TRIGGERED": "not started",
}
_GATES = {"QualityGate": "quality", "ServingCheck": "serving"}
_FINAL_STATES = ("succeeded", "failed", "cancelled")
_IMAGE_ERRORS = (
    "Failed to pull image",
    "ImagePullBackOff",
    "Cannot find image",
    "manifest unknown",
)


@dataclasses.dataclass(frozen=True)
class TaskStatus:
    """Status of one task."""

    name: str
    state: str
    seconds: float | None
    error: str
    log: str | None
    """URL of the log; None without a job."""


@dataclasses.dataclass(frozen=True)
class RunStatus:
    """Status of a run."""

    run: str
    state: str
    tasks: list[TaskStatus]
    error: str
    page: str
    pushed: str | None
    """Destination of the pushed model; None if no model was pushed."""
    verdicts: str | None = None
    """Table of both gates' verdicts; None if a verdict is missing or unreadable."""

    @property
    def has_ended(self) -> bool:
        """Whether the state is final."""
        return self.state in _FINAL_STATES

    def text(self) -> str:
        """What `status` prints."""
        return "\n".join([self.head(), *map(task_line, self.tasks), *self.ending()])

    def head(self) -> str:
        """The run and its state."""
        return f"run {self.run}: {self.state}"

    def ending(self) -> list[str]:
        """The result: failed tasks with their logs, or the destination of the model."""
        lines = []
        failed = [task for task in self.tasks if task.state == "failed"]
        for task in failed:
            lines += ["", f"error: {task.name} failed: {explain(task.error)}"]
            lines += [f"  log: {task.log}"] if task.log else []
        if self.error and not failed:
            lines += ["", f"error: {explain(self.error)}"]
        if self.state == "succeeded":
            lines += [self.verdicts] if self.verdicts else []
            lines.append(f"pushed {self.pushed}" if self.pushed else "a gate refused the model")
        return [*lines, f"  {self.page}"]


def read(config: Config, job: PipelineJob) -> RunStatus:
    """The status in Vertex AI's message about a run."""
    run = job.name.rpartition("/")[2]
    details = sorted(
        (detail for detail in job.job_detail.task_details if _is_task(detail, run)),
        key=lambda detail: (str(detail.start_time or "9"), detail.task_name),
    )
    state = _RUN_STATES.get(job.state.name, job.state.name)
    return RunStatus(
        run=run,
        state=state,
        tasks=[_task(config, detail) for detail in details],
        error=job.error.message if job.error else "",
        page=console_url(config, run),
        pushed=_pushed(details),
        verdicts=_verdicts(details) if state == "succeeded" else None,
    )


def task_line(task: TaskStatus) -> str:
    """Name, state and seconds in columns."""
    took = f"{task.seconds:.0f} s" if task.seconds is not None else ""
    return f"  {task.name:<44}{task.state:<12}{took:>8}".rstrip()


def explain(error: str) -> str:
    """An error of the service, with advice where there is any."""
    if any(sign in error for sign in _IMAGE_ERRORS):
        return (
            f"{error}\n  The image does not exist: build and push it (docs/images.md), and set "
            "cloud.image to it."
        )
    if "RESOURCE_EXHAUSTED" in error or "quota" in error.lower():
        return (
            f"{error}\n  A quota is used up: `runner_dataflow.py plan` lists the required quotas."
        )
    return error


def _is_task(detail: PipelineTaskDetail, run: str) -> bool:
    """Whether this is a task: the service lists the run itself among its tasks."""
    return detail.task_name not in ("", run)


def _task(config: Config, detail: PipelineTaskDetail) -> TaskStatus:
    state = _TASK_STATES.get(detail.state.name, detail.state.name)
    container = detail.executor_detail.container_detail
    job = container.main_job or container.pre_caching_check_job
    return TaskStatus(
        name=detail.task_name,
        state=state,
        seconds=None if state == "cached" else _seconds(detail.start_time, detail.end_time),
        error=detail.error.message if detail.error else "",
        log=_log_url(config, job) if job else None,
    )


def _log_url(config: Config, job: str) -> str:
    """The page of a custom job's log."""
    project = resources.cloud_section(config).project
    query = f'resource.labels.job_id%3D"{job.rpartition("/")[2]}"'
    return f"https://console.cloud.google.com/logs/query;query={query}?project={project}"


def _seconds(start: datetime.datetime | None, end: datetime.datetime | None) -> float | None:
    if not start:
        return None
    end = end or datetime.datetime.now(datetime.timezone.utc)
    return (end - start).total_seconds()


def _pushed(details: Iterable[PipelineTaskDetail]) -> str | None:
    """The destination that the Pusher recorded; None if it pushed nothing."""
    for detail in details:
        for output in detail.outputs.values():
            for artifact in output.artifacts:
                properties = dict(artifact.metadata) if artifact.metadata else {}
                if properties.get("pushed"):
                    return str(properties.get("pushed_destination") or artifact.uri)
    return None


def _verdicts(details: Iterable[PipelineTaskDetail]) -> str | None:
    """The table of the verdicts that both gates wrote into the folders of their blessings."""
    found = {}
    for detail in details:
        gate = _GATES.get(detail.task_name)
        if gate is None or "blessing" not in detail.outputs:
            continue
        for artifact in detail.outputs["blessing"].artifacts:
            try:
                found[gate] = json.loads(files.read(files.join(artifact.uri, VERDICT_FILE)))
            except (OSError, DataError):
                return None
    return verdict_table(found) if found.keys() == {*_GATES.values()} else None
