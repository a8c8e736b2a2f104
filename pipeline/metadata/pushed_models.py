"""Reads the pushed models from ML Metadata. Imports neither TFX nor TensorFlow."""

import dataclasses
import datetime
from pathlib import Path

from ml_metadata import MetadataStore

from pipeline.artifacts.digests import folder_digest
from pipeline.artifacts.saved_model import FOLDER
from pipeline.metadata.graph import Id, load
from pipeline.metadata.mlmd_source import MlmdSource


@dataclasses.dataclass(frozen=True)
class PushedModel:
    """One successful push."""

    artifact_id: int
    version: str
    """Name of the version at the push target."""
    destination: str
    """Folder or resource name of the version at the push target."""
    pushed_at: str
    """Time of the push: ISO 8601, UTC."""
    pipeline: str
    run_id: str
    model_id: Id
    """Id of the pushed Model artifact."""
    model_uri: str

    @property
    def saved_model(self) -> Path:
        """Folder of the SavedModel in the Model artifact."""
        return Path(self.model_uri) / FOLDER


def pushed_models(store: MetadataStore) -> list[PushedModel]:
    """Reads all successful pushes from ML Metadata, oldest first."""
    source = MlmdSource(store)
    pushes = [
        artifact
        for artifact in store.get_artifacts_by_type("PushedModel")
        if artifact.custom_properties["pushed"].int_value == 1
    ]
    graph = load(source, set(source.producers(push.id for push in pushes).values()))
    found = []
    for push in sorted(pushes, key=lambda push: push.id):
        execution = graph.executions.get(graph.producers.get(push.id, ""))
        inputs = execution.inputs if execution else ()
        model = next((edge.artifact for edge in inputs if edge.key == "model"), None)
        if execution is None or model not in graph.artifacts:
            continue
        found.append(
            PushedModel(
                artifact_id=push.id,
                version=push.custom_properties["pushed_version"].string_value,
                destination=push.custom_properties["pushed_destination"].string_value,
                pushed_at=_time(push.create_time_since_epoch),
                pipeline=execution.pipeline,
                run_id=execution.run,
                model_id=model,
                model_uri=graph.artifacts[model].uri,
            )
        )
    return found


def push_of(saved_model: Path, pushes: list[PushedModel]) -> PushedModel | None:
    """Finds the push of a version in a serving folder; None if there is none.

    Args:
        saved_model: folder of the version, `<serving folder>/<version>`.
        pushes: the result of `pushed_models`.
    """
    for push in reversed(pushes):
        if push.version == saved_model.name == Path(push.destination).name:
            return push
    # A version that was rolled back and promoted again can have a new number, but not new content.
    digest = folder_digest(saved_model)
    for push in reversed(pushes):
        if push.saved_model.is_dir() and folder_digest(push.saved_model) == digest:
            return push
    return None


def _time(milliseconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc)
    return moment.isoformat(timespec="seconds")
