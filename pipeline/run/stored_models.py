"""What earlier runs left in a root: models whose files changed, executions that died.

TFX takes a model from its cache, or compares with one, by its id and looks at no file in it.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.artifacts import saved_model, version_folder


def repair_models(store: MetadataStore, root: Path, serving: str) -> Iterator[str]:
    """Keeps models that changed or are missing out of the next run.

    The latest blessed model is restored from the serving folder, where that has it. Any other is
    renamed and marked as deleted in ML Metadata: TFX trains it anew instead of taking it from the
    cache, and compares with the model that was blessed before. Nothing outside the root is
    touched, and models in Cloud Storage are left to the Pusher's check.

    Args:
        store: ML Metadata of the root.
        root: the root folder.
        serving: the folder that models are pushed to, where there is one.

    Yields:
        One line a model: what was found and what was done.
    """
    judged, latest = _judged(store)
    for model in store.get_artifacts_by_type("Model"):
        digest = judged.get(model.id)
        if model.state != mlmd.Artifact.LIVE or digest is None or "://" in model.uri:
            continue
        at = Path(model.uri) / saved_model.FOLDER
        if _digest(at) == digest:
            continue
        what = "changed since it was judged, in" if at.exists() else "is gone from"
        inside = at.resolve().is_relative_to(root.resolve())
        copy = _served_copy(serving, digest) if model.id == latest and inside else None
        if copy:
            arriving = at.with_name(f".arriving-{at.name}")
            shutil.rmtree(arriving, ignore_errors=True)
            shutil.copytree(copy, arriving)
            _set_aside(at)
            arriving.rename(at)
            yield f"model {model.id} {what} {model.uri}: restored from {copy}"
        else:
            if inside:
                _set_aside(Path(model.uri))
            model.state = mlmd.Artifact.DELETED
            store.put_artifacts([model])
            yield f"model {model.id} {what} {model.uri}: it is not used any more"


def _set_aside(folder: Path) -> None:
    if folder.exists():
        folder.rename(folder.with_name(f".changed-{folder.name}-{time.time_ns()}"))


def fail_abandoned(store: MetadataStore) -> None:
    """Marks as failed what a killed run left running; only a run that holds the root may ask."""
    left = [
        execution
        for execution in store.get_executions()
        if execution.last_known_state in (mlmd.Execution.NEW, mlmd.Execution.RUNNING)
    ]
    for execution in left:
        execution.last_known_state = mlmd.Execution.FAILED
    if left:
        store.put_executions(left)


def _judged(store: MetadataStore) -> tuple[dict[int, str], int | None]:
    """The digest of each model that gate 1 judged, by the model's id, and the latest blessed id."""
    digests, blessed = {}, []
    for blessing in store.get_artifacts_by_type("ModelBlessing"):
        properties = blessing.custom_properties
        model, digest = (
            properties["current_model_id"].int_value,
            properties[saved_model.DIGEST].string_value,
        )
        if digest:
            digests[model] = digest
            blessed += [model] if properties["blessed"].int_value else []
    return digests, max(blessed, default=None)


def _digest(folder: Path) -> str | None:
    try:
        return saved_model.model_digest(str(folder))
    except saved_model.SavedModelError:
        return None


def _served_copy(serving: str, digest: str) -> Path | None:
    """The version in the serving folder with this content, the newest first."""
    if "://" in serving:
        return None
    for version in reversed(version_folder.versions(Path(serving))):
        path = Path(serving) / str(version)
        if _digest(path) == digest:
            return path
    return None
