"""All of Google Cloud as a user's machine sees it, and the commands that a user gives there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.files import load_config
from pipeline.config.schema import Config
from tests.pipeline.cloud import dataflow_cloud
from tests.pipeline.cloud.dataflow_cloud import Cloud
from tests.standins.vertex_hosts import VertexOnHosts
from tests.standins.world import PROJECT, REGION

_SETTINGS = (
    *dataflow_cloud.SETTINGS,
    f"cloud.image={dataflow_cloud.IMAGE}",
    f"cloud.training_image={dataflow_cloud.IMAGE}",
    "cloud.training.chief={preset: CPU}",
    f"cloud.subnetwork=regions/{REGION}/subnetworks/main",
    "cloud.training.worker={machine_type: n1-standard-4}",
    "push.target=vertex",
    f"push.vertex={{project: {PROJECT}, region: {REGION}, models_at: gs://bucket/models}}",
    "serving={max_p50_ms: 20000, max_p99_ms: 20000}",  # the machines share two processors
)
_SUBMIT = """
import sys
from pathlib import Path
from pipeline.config.files import load_config
from pipeline.vertex import runs
spec, *settings = sys.argv[1:]
print(runs.submit(load_config("conf/production.yaml", settings), Path(spec)))
"""
_PREDICT = """
import base64, json, sys
from google.cloud import aiplatform
from data.record import records
photo = open(sys.argv[1], "rb").read()
aiplatform.init(project=sys.argv[2], location=sys.argv[3])
(endpoint,) = aiplatform.Endpoint.list(filter='labels.pawprint_model="pawprint"')
record = records.serialize({"image": photo})
answer = endpoint.predict(instances=[{"b64": base64.b64encode(record).decode()}])
print(json.dumps({"version": answer.model_version_id, "predictions": answer.predictions}))
"""
_PREDICT_IN_BULK = """
import sys
from pipeline.config.files import load_config
from pipeline.run.dag_runner import LocalDagRunner
from pipeline.predict.bulk_pipeline import INFERENCE, create_prediction_pipeline
from pipeline.predict.photo_folder import UnlabelledRecords
records, model, *settings = sys.argv[1:]
config = load_config("conf/production.yaml", settings)
photos = UnlabelledRecords([], records, 0, [], False)
reports = {}
runner = LocalDagRunner("bulk", lambda report: reports.update({report.node_id: report}))
runner.run(create_prediction_pipeline(config, photos, model))
(result,) = reports[INFERENCE].execution.outputs["inference_result"]
print(result.uri)
"""


@dataclass(frozen=True)
class Run:
    """A run that is over.

    Attributes:
        id: Its id.
        tasks: The tasks by name, as the service shows them.
        jobs: Ids of the Dataflow jobs that it started.
        asked: How many requests it sent to the prediction service.
    """

    id: str
    tasks: dict[str, dict]
    jobs: list[str]
    asked: int

    @property
    def states(self) -> dict[str, str]:
        return {name: task["state"] for name, task in self.tasks.items()}

    def output(self, task: str, key: str) -> dict:
        """An artifact, with its `uri` and `metadata`."""
        (artifact,) = self.tasks[task]["outputs"][key]["artifacts"]
        return artifact


@dataclass(frozen=True)
class WholeCloud:
    """Storage, Dataflow and Vertex AI, and commands on the host `client`."""

    cloud: Cloud
    vertex: VertexOnHosts

    def command(self, name: str, *arguments, settings: tuple[str, ...] = ()) -> str:
        """What a command of `runner_dataflow.py`, which must succeed, prints."""
        given = [f"--set={setting}" for setting in (*self._settings, *settings)]
        done = self.cloud.python("runner_dataflow.py", name, *arguments, *given)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-5000:]}"
        return done.stdout

    def compile(self, name: str, *settings: str) -> Path:
        """The compiled spec of the photos, which are converted before."""
        path = self.cloud.scratch / f"{name}.json"
        self.command("compile", "--images", "gs://bucket/photos", "-o", path, settings=settings)
        return path

    def run(self, spec: Path) -> Run:
        """Has Vertex AI run a spec to the end."""
        jobs, asked = len(self.cloud.dataflow.jobs), len(self.vertex.prediction.requests)
        run = self._print("-c", _SUBMIT, spec, *self._settings)
        self.vertex.pipelines.finish(run)
        tasks = self.vertex.pipelines.jobs[run]["jobDetail"]["taskDetails"]
        return Run(
            run,
            {task["taskName"]: task for task in tasks if task["taskName"] != run},
            list(self.cloud.dataflow.jobs)[jobs:],
            len(self.vertex.prediction.requests) - asked,
        )

    def predict(self, photo: Path) -> dict:
        """The answer of the endpoint, asked with Google's client."""
        return json.loads(self._print("-c", _PREDICT, photo, PROJECT, REGION))

    def predict_in_bulk(self, records: str, model: str) -> str:
        """Where the BulkInferrer left its results."""
        return self._print("-c", _PREDICT_IN_BULK, records, model, *self._settings)

    def text(self, uri: str) -> str:
        """A file of the bucket."""
        return self.cloud.world.storage.get(uri).decode()

    def said(self, run: Run) -> str:
        """The ends of the logs of all tasks that failed, and of the replicas."""
        logs = [log for job in self.vertex.training.logs.values() for log in job]
        folders = self.cloud.world.folder / "tasks"
        failed = [name for name, state in run.states.items() if state == "FAILED"]
        logs += [log for name in failed for log in folders.glob(f"{name}-*/log.txt")]
        ends = [f"== {log}\n{log.read_text()[-6000:]}" for log in logs if failed]
        return "\n".join([json.dumps(run.states, indent=1), *ends])

    @property
    def config(self) -> Config:
        """What the commands read."""
        return load_config("conf/production.yaml", self._settings)

    @property
    def _settings(self) -> tuple[str, ...]:
        return (*_SETTINGS, f"root={self.cloud.scratch / 'runs'}")

    def _print(self, *arguments) -> str:
        done = self.cloud.python(*arguments)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-5000:]}"
        return done.stdout.split("\n")[-2]


@contextmanager
def whole_cloud(photos: Path, scratch: Path) -> Iterator[WholeCloud]:
    """The cloud with photos in its bucket; skips the test where there are no namespaces."""
    with (
        dataflow_cloud.dataflow_cloud(photos, scratch) as cloud,
        VertexOnHosts(cloud.world, [cloud.wheel]) as vertex,
    ):
        yield WholeCloud(cloud, vertex)
