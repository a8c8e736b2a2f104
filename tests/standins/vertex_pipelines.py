"""Vertex AI Pipelines: runs a compiled pipeline spec, each task by its own container command.

It does what the service does around the containers: the order of the tasks, their conditions, the
executor input, drivers, resolvers, importers, the cache and the metadata of what was made. Where
the spec says `gs://`, the containers get the folder that stands for the bucket.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import IO

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

from tests.standins.vertex_conditions import holds
from tests.standins.vertex_dag import in_order, upstream
from tests.standins.vertex_metadata import Artifact, MetadataStore

REPOSITORY = Path(__file__).resolve().parents[2]
_NUMBER = "123456789012"  # the project's


@dataclasses.dataclass
class TaskRun:
    """How a task went; `state` is one of Vertex AI's PipelineTaskDetail.State."""

    name: str
    state: str = "PENDING"
    log: Path | None = None
    error: str = ""
    outputs: dict[str, list[Artifact]] = dataclasses.field(default_factory=dict)
    inputs: dict[str, list[Artifact]] = dataclasses.field(default_factory=dict)
    started: str = ""
    ended: str = ""
    process: subprocess.Popen | None = None
    cancelled: bool = False

    @property
    def done(self) -> bool:
        """Whether what depends on it may go on; SKIPPED is a hit in the cache."""
        return self.state in ("SUCCEEDED", "SKIPPED")


class PipelinesStandIn:
    """The part of the service that executes.

    Attributes:
        metadata: Every artifact of every run.
        commands: (task, command) of each container that ran.
        environment: Variables that the image or the service sets in each container.
        broken: Names of tasks whose container is killed as soon as it starts.
    """

    def __init__(self, folder: Path, buckets: dict[str, Path], environment: dict | None = None):
        """Executes pipelines.

        Args:
            folder: For logs.
            buckets: The folder that stands for each bucket, by name.
            environment: Variables of each container.
        """
        self._folder = folder
        self._places = {f"gs://{name}": str(path) for name, path in buckets.items()}
        self.environment = dict(environment or {})
        self._cache: dict[str, dict[str, list[Artifact]]] = {}
        self.metadata = MetadataStore(f"projects/{_NUMBER}/locations/here")
        self.commands: list[tuple[str, list[str]]] = []
        self._runs: dict[str, _Run] = {}
        self.broken: set[str] = set()

    def run(self, job: dict, job_id: str, changed=lambda tasks: None) -> dict[str, TaskRun]:
        """Executes a pipeline job to its end and tells what became of each task.

        Args:
            job: `pipelineSpec` and `runtimeConfig`, as JSON.
            job_id: The job's id.
            changed: Called with all tasks whenever one starts or ends.
        """
        spec = json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
        run = self._runs[job_id] = _Run(self, job, spec, job_id)
        for name in in_order(spec.root.dag.tasks):
            task = run.tasks[name]
            needed = [run.tasks[other] for other in upstream(spec.root.dag.tasks[name])]
            if not all(other.done for other in needed) or task.cancelled:
                task.state = "CANCELLED" if task.cancelled else "NOT_TRIGGERED"
                continue
            task.state, task.started = "RUNNING", now()
            changed(run.tasks)
            run.execute(task)
            task.ended = now()
            changed(run.tasks)
        return run.tasks

    def cancel(self, job_id: str) -> None:
        """Ends a run as the service does: its containers, and nothing that they started."""
        for task in self._runs[job_id].tasks.values():
            task.cancelled = True
            if task.process:
                task.process.kill()

    def here(self, text: str) -> str:
        """`gs://` addresses as paths of this machine."""
        for cloud, local in self._places.items():
            text = text.replace(cloud, local)
        return text

    def there(self, text: str) -> str:
        """Paths of this machine as `gs://` addresses."""
        for cloud, local in self._places.items():
            text = text.replace(local, cloud)
        return text

    def contain(self, task: TaskRun, command: list[str], executor_input: dict) -> int:
        """Runs one container to its end; returns its exit status."""
        filled = [self.here(word.replace("{{$}}", json.dumps(executor_input))) for word in command]
        self.commands.append((task.name, filled))
        scratch = self._folder / f"{task.name}-{uuid.uuid4().hex[:8]}"
        scratch.mkdir(parents=True)
        task.log = scratch / "log.txt"
        with task.log.open("w") as log:
            task.process = self._start(filled, scratch, log)
            if task.name in self.broken or task.cancelled:
                task.process.kill()
            return task.process.wait()

    def _start(self, command: list[str], scratch: Path, log: IO) -> subprocess.Popen:
        """Starts a container's process."""
        # What an image has: the interpreter first on the path, the project installed, no more.
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
            "PYTHONPATH": str(REPOSITORY),
            "TF_USE_LEGACY_KERAS": "1",
            **self.environment,
        }
        return subprocess.Popen(
            command, env=environment, cwd=scratch, stdout=log, stderr=subprocess.STDOUT
        )

    def _make_folder(self, uri: str) -> None:
        """In a bucket, every folder is there."""
        Path(self.here(uri)).mkdir(parents=True)

    def _read(self, uri: str) -> str:
        return Path(self.here(uri)).read_text()


class _Run:
    """One job on its way."""

    def __init__(self, service: PipelinesStandIn, job: dict, spec, job_id: str):
        self._service = service
        self._spec = spec
        self._deployment = json_format.ParseDict(
            job["pipelineSpec"]["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig()
        )
        self._parameters = job.get("runtimeConfig", {}).get("parameterValues", {})
        self._pipeline = spec.pipeline_info.name
        self._root = f"{job['runtimeConfig']['gcsOutputDirectory']}/{_NUMBER}/{job_id}"
        self.tasks = {name: TaskRun(name) for name in spec.root.dag.tasks}

    def execute(self, task: TaskRun) -> None:
        described = self._spec.root.dag.tasks[task.name]
        component = self._spec.components[described.component_ref.name]
        executor = self._deployment.executors[component.executor_label]
        task.inputs = {
            key: self._artifacts_of(given) for key, given in described.inputs.artifacts.items()
        }
        condition = described.trigger_policy.condition
        if condition and not holds(condition, task.inputs):
            task.state = "NOT_TRIGGERED"
            return
        kind = executor.WhichOneof("spec")
        if kind == "resolver":
            for key, query in executor.resolver.output_artifact_queries.items():
                task.outputs[key] = self._service.metadata.query(
                    query.filter, task.inputs, self._pipeline
                )
            task.state = "SUCCEEDED"
        elif kind == "importer":
            self._import(task, component, executor.importer)
        else:
            self._run_container(task, described, component, executor.container)

    def _artifacts_of(self, given) -> list[Artifact]:
        source = given.task_output_artifact
        return self.tasks[source.producer_task].outputs[source.output_artifact_key]

    def _value_of(self, given):
        if given.HasField("component_input_parameter"):
            name = given.component_input_parameter
            default = self._spec.root.input_definitions.parameters[name].default_value
            return self._parameters.get(name, json_format.MessageToDict(default))
        return json_format.MessageToDict(given.runtime_value.constant)

    def _import(self, task: TaskRun, component, importer) -> None:
        uri = importer.artifact_uri.constant.string_value
        (key,) = component.output_definitions.artifacts
        known = self._service.metadata.artifacts.values()
        found = [a for a in known if a.uri == uri] if not importer.reimport else []
        schema = importer.type_schema.instance_schema
        artifact = found[-1] if found else self._service.metadata.new(schema, uri, self._pipeline)
        artifact.metadata.update(json_format.MessageToDict(importer.metadata))
        artifact.state = "LIVE"
        task.outputs = {key: [artifact]}
        task.state = "SUCCEEDED"

    def _run_container(self, task: TaskRun, described, component, container) -> None:
        folder = f"{self._root}/{task.name}_{uuid.uuid4().int % 10**18}"
        outputs = {
            key: self._service.metadata.new(
                kind.artifact_type.instance_schema, f"{folder}/{key}", self._pipeline
            )
            for key, kind in component.output_definitions.artifacts.items()
        }
        parameters = {
            key: self._value_of(given) for key, given in described.inputs.parameters.items()
        }
        asked = {
            "inputs": {
                "artifacts": {
                    key: {"artifacts": [artifact.runtime() for artifact in given]}
                    for key, given in task.inputs.items()
                },
                "parameterValues": parameters,
            },
            "outputs": {
                "artifacts": {key: {"artifacts": [a.runtime()]} for key, a in outputs.items()},
                "outputFile": f"{folder}/executor_output.json",
            },
        }
        json_format.ParseDict(asked, pipeline_spec_pb2.ExecutorInput())
        for artifact in outputs.values():
            self._service._make_folder(artifact.uri)
        driver = container.lifecycle.pre_cache_check
        if driver.command:
            status = self._service.contain(task, [*driver.command, *driver.args], asked)
            if status:
                return self._failed(task, status)
            self._take(asked["outputs"]["outputFile"], outputs, parameters)
            for key, artifact in outputs.items():
                asked["outputs"]["artifacts"][key] = {"artifacts": [artifact.runtime()]}
        cached = self._cache_key(task, component, container, parameters)
        if described.caching_options.enable_cache and cached in self._service._cache:
            task.outputs = self._service._cache[cached]
            task.state = "SKIPPED"
            self._service.metadata.forget(outputs.values())
            return None
        status = self._service.contain(task, [*container.command, *container.args], asked)
        if status:
            return self._failed(task, status)
        self._take(asked["outputs"]["outputFile"], outputs, parameters)
        for artifact in outputs.values():
            artifact.state = "LIVE"
        task.outputs = {key: [artifact] for key, artifact in outputs.items()}
        self._service._cache[cached] = task.outputs
        task.state = "SUCCEEDED"
        return None

    def _take(self, output_file: str, outputs: dict[str, Artifact], parameters: dict) -> None:
        """Takes up what a container wrote about its outputs."""
        written = json.loads(self._service.there(self._service._read(output_file)))
        told = json_format.ParseDict(written, pipeline_spec_pb2.ExecutorOutput())
        parameters |= {k: json_format.MessageToDict(v) for k, v in told.parameter_values.items()}
        for key, given in told.artifacts.items():
            (one,) = given.artifacts
            assert one.name == outputs[key].name, f"{key}: {one.name} is no output of this task"
            outputs[key].metadata.update(json_format.MessageToDict(one.metadata))
            outputs[key].uri = one.uri

    def _cache_key(self, task: TaskRun, component, container, parameters: dict) -> str:
        parts = {
            "component": json_format.MessageToDict(component),
            "container": json_format.MessageToDict(container),
            "inputs": {key: [a.name for a in given] for key, given in task.inputs.items()},
            "parameters": parameters,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _failed(self, task: TaskRun, status: int) -> None:
        task.state = "CANCELLED" if task.cancelled else "FAILED"
        task.error = (
            f"The replica workerpool0-0 exited with a non-zero status of {abs(status)}. "
            f"To find out more about why your job exited please check the logs: {task.log}"
        )


def now() -> str:
    """The time, as the service writes it."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
