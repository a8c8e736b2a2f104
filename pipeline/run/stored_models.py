"""Repairs what earlier runs left in a root: changed models and unfinished executions.

TFX identifies cached models and baselines by their artifact id and does not check their files.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.artifacts import saved_model, version_folder


def repair_models(store: MetadataStore, root: Path, serving: str) -> Iterator[str]:
    """Excludes models whose files have changed or are missing from the next run.

    Restores the latest blessed model from the serving folder if that has a copy. Renames any other
    changed model and marks it as deleted in ML Metadata: TFX then trains the model again instead of
    using its cache, and the previously blessed model is the baseline. Changes nothing outside the
    root folder. Ignores models in Cloud Storage, which the Pusher checks.

    Args:
        store: ML Metadata of the root folder.
        root: the root folder.
        serving: the folder that models are pushed to.

    Yields:
        One line per changed model: the finding and the action.
    """
    evaluated, latest = _evaluated(store)
    for model in store.get_artifacts_by_type("Model"):
        digest = evaluated.get(model.id)
        if model.state != mlmd.Artifact.LIVE or digest is None or "://" in model.uri:
            continue
        folder = Path(model.uri) / saved_model.FOLDER
        if _digest(folder) == digest:
            continue
        finding = "has changed since its evaluation, in" if folder.exists() else "is missing from"
        inside = folder.resolve().is_relative_to(root.resolve())
        copy = _served_copy(serving, digest) if model.id == latest and inside else None
        if copy:
            incoming = folder.with_name(f".arriving-{folder.name}")
            shutil.rmtree(incoming, ignore_errors=True)
            shutil.copytree(copy, incoming)
            _rename_changed(folder)
            incoming.rename(folder)
            yield f"model {model.id} {finding} {model.uri}: restored from {copy}"
        else:
            if inside:
                _rename_changed(Path(model.uri))
            model.state = mlmd.Artifact.DELETED
            store.put_artifacts([model])
            yield f"model {model.id} {finding} {model.uri}: no longer used"


def _rename_changed(folder: Path) -> None:
    if folder.exists():
        folder.rename(folder.with_name(f".changed-{folder.name}-{time.time_ns()}"))


def fail_unfinished(store: MetadataStore) -> None:
    """Marks unfinished executions as failed. Call it only with the root folder locked."""
    unfinished = [
        execution
        for execution in store.get_executions()
        if execution.last_known_state in (mlmd.Execution.NEW, mlmd.Execution.RUNNING)
    ]
    for execution in unfinished:
        execution.last_known_state = mlmd.Execution.FAILED
    if unfinished:
        store.put_executions(unfinished)


def _evaluated(store: MetadataStore) -> tuple[dict[int, str], int | None]:
    """Returns the digest of each model with a verdict, by model id, and the latest blessed id."""
    digests: dict[int, str] = {}
    blessed: list[int] = []
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
    """Returns the newest version in the serving folder with this digest; None without one."""
    if "://" in serving:
        return None
    for version in reversed(version_folder.versions(Path(serving))):
        path = Path(serving) / str(version)
        if _digest(path) == digest:
            return path
    return None
