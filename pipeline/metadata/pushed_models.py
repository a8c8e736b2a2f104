"""The models that were pushed, as ML Metadata has them. Imports neither TFX nor TensorFlow."""

import dataclasses
import datetime
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.artifacts.digests import folder_digest
from pipeline.artifacts.saved_model import FOLDER

_INPUT = (mlmd.Event.INPUT, mlmd.Event.DECLARED_INPUT)
_OUTPUT = (mlmd.Event.OUTPUT, mlmd.Event.DECLARED_OUTPUT)


@dataclasses.dataclass(frozen=True)
class PushedModel:
    """One push that succeeded."""

    artifact_id: int
    version: str
    """Name of the version at its target."""
    destination: str
    """Its address there."""
    pushed_at: str
    """ISO 8601, UTC."""
    pipeline: str
    run_id: str
    model_id: int
    """Of the Model artifact that was pushed."""
    model_uri: str

    @property
    def saved_model(self) -> Path:
        """The SavedModel in the Model artifact."""
        return Path(self.model_uri) / FOLDER


def pushed_models(store: MetadataStore) -> list[PushedModel]:
    """Every push that succeeded, oldest first."""
    found = []
    for artifact in sorted(store.get_artifacts_by_type("PushedModel"), key=lambda a: a.id):
        properties = artifact.custom_properties
        if properties["pushed"].int_value != 1:
            continue
        events = store.get_events_by_artifact_ids([artifact.id])
        # A cached push is an output of later executions as well; the first one made it.
        made = min((e.execution_id for e in events if e.type in _OUTPUT), default=None)
        model = None if made is None else _model(store, made)
        if model is None:
            continue
        contexts = {c.type: c.name for c in store.get_contexts_by_execution(made)}
        found.append(
            PushedModel(
                artifact_id=artifact.id,
                version=properties["pushed_version"].string_value,
                destination=properties["pushed_destination"].string_value,
                pushed_at=_time(artifact.create_time_since_epoch),
                pipeline=contexts["pipeline"],
                run_id=contexts["pipeline_run"],
                model_id=model.id,
                model_uri=model.uri,
            )
        )
    return found


def push_of(saved_model: Path, pushes: list[PushedModel]) -> PushedModel | None:
    """The push that a version in a serving folder comes from; None where it is not known.

    Args:
        saved_model: the version's folder, `<serving folder>/<version>`.
        pushes: from `pushed_models`.
    """
    for push in reversed(pushes):
        if push.version == saved_model.name == Path(push.destination).name:
            return push
    # One that was set aside and promoted again may have a new number, but not a new content.
    digest = folder_digest(saved_model)
    for push in reversed(pushes):
        if push.saved_model.is_dir() and folder_digest(push.saved_model) == digest:
            return push
    return None


def _model(store: MetadataStore, execution: int) -> mlmd.Artifact | None:
    ids = [
        event.artifact_id
        for event in store.get_events_by_execution_ids([execution])
        if event.type in _INPUT and event.path.steps and event.path.steps[0].key == "model"
    ]
    return next(iter(store.get_artifacts_by_id(ids)), None) if ids else None


def _time(milliseconds: int) -> str:
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc)
    return moment.isoformat(timespec="seconds")
