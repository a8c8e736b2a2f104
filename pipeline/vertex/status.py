"""A run on Vertex AI in words: what each task did, what failed, and where its log is."""

import dataclasses
import datetime
import json
from collections.abc import Iterable

from data.errors import DataError
from data.storage import files
from pipeline.artifacts.names import VERDICT_FILE
from pipeline.config.schema import Config
from pipeline.gate.verdict_table import verdict_table
from pipeline.vertex.runs import page

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
_OVER = ("succeeded", "failed", "cancelled")
_NO_IMAGE = ("Failed to pull image", "ImagePullBackOff", "Cannot find image", "manifest unknown")


@dataclasses.dataclass(frozen=True)
class Task:
    """One task of a run."""

    name: str
    state: str
    seconds: float | None
    error: str
    log: str | None
    """Where its log can be read."""


@dataclasses.dataclass(frozen=True)
class Status:
    """How a run stands."""

    run: str
    state: str
    tasks: list[Task]
    error: str
    page: str
    pushed: str | None
    """Where the model was pushed; None while it was not."""
    verdicts: str | None = None
    """The table of both gates; None where they did not judge, or it cannot be read."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in _OVER

    def text(self) -> str:
        """The lines that `status` prints."""
        return "\n".join([self.head(), *map(task_line, self.tasks), *self.ending()])

    def head(self) -> str:
        """The run and its state."""
        return f"run {self.run}: {self.state}"

    def ending(self) -> list[str]:
        """What came of it: the tasks that failed and their logs, or where the model went."""
        lines = []
        failed = [task for task in self.tasks if task.state == "failed"]
        for task in failed:
            lines += ["", f"error: {task.name} failed: {explain(task.error)}"]
            lines += [f"  its log: {task.log}"] if task.log else []
        if self.error and not failed:
            lines += ["", f"error: {explain(self.error)}"]
        if self.state == "succeeded":
            lines += [self.verdicts] if self.verdicts else []
            lines.append(f"pushed {self.pushed}" if self.pushed else "a gate refused the model")
        return [*lines, f"  {self.page}"]


def read(config: Config, job) -> Status:
    """The status in a `google.cloud.aiplatform_v1.PipelineJob`."""
    run = job.name.rpartition("/")[2]
    details = sorted(
        (detail for detail in job.job_detail.task_details if _is_task(detail, run)),
        key=lambda detail: (str(detail.start_time or "9"), detail.task_name),
    )
    state = _RUN_STATES.get(job.state.name, job.state.name)
    return Status(
        run=run,
        state=state,
        tasks=[_task(config, detail) for detail in details],
        error=job.error.message if job.error else "",
        page=page(config, run),
        pushed=_pushed(details),
        verdicts=_verdicts(details) if state == "succeeded" else None,
    )


def task_line(task: Task) -> str:
    """`name  state  seconds` in columns."""
    took = f"{task.seconds:.0f} s" if task.seconds is not None else ""
    return f"  {task.name:<44}{task.state:<12}{took:>8}".rstrip()


def explain(error: str) -> str:
    """An error of the service, with what to do where that is known."""
    if any(sign in error for sign in _NO_IMAGE):
        return (
            f"{error}\n  The image is not there: build and push it as docs/images.md says, and set "
            "cloud.image to it."
        )
    if "RESOURCE_EXHAUSTED" in error or "quota" in error.lower():
        return f"{error}\n  A quota is used up: `runner_dataflow.py plan` names those needed."
    return error


def _is_task(detail, run: str) -> bool:
    """The service lists the run itself among its tasks."""
    return detail.task_name not in ("", run)


def _task(config: Config, detail) -> Task:
    state = _TASK_STATES.get(detail.state.name, detail.state.name)
    container = detail.executor_detail.container_detail
    job = container.main_job or container.pre_caching_check_job
    return Task(
        name=detail.task_name,
        state=state,
        seconds=None if state == "cached" else _seconds(detail.start_time, detail.end_time),
        error=detail.error.message if detail.error else "",
        log=_log(config, job) if job else None,
    )


def _log(config: Config, job: str) -> str:
    """The page of the log of a custom job."""
    query = f'resource.labels.job_id%3D"{job.rpartition("/")[2]}"'
    return (
        f"https://console.cloud.google.com/logs/query;query={query}?project={config.cloud.project}"
    )


def _seconds(start, end) -> float | None:
    if not start:
        return None
    end = end or datetime.datetime.now(datetime.timezone.utc)
    return (end - start).total_seconds()


def _pushed(details: Iterable) -> str | None:
    for detail in details:
        for output in detail.outputs.values():
            for artifact in output.artifacts:
                held = dict(artifact.metadata) if artifact.metadata else {}
                if held.get("pushed"):
                    return str(held.get("pushed_destination") or artifact.uri)
    return None


def _verdicts(details: Iterable) -> str | None:
    """What both gates wrote beside their blessings, as a table."""
    found = {}
    for detail in details:
        gate = _GATES.get(detail.task_name)
        made = detail.outputs.get("blessing") if gate else None
        for artifact in made.artifacts if made else ():
            try:
                found[gate] = json.loads(files.read(files.join(artifact.uri, VERDICT_FILE)))
            except (OSError, DataError):
                return None
    return verdict_table(found) if found.keys() == {*_GATES.values()} else None
