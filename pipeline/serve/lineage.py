"""Lineage of a served version: its model card and its run in ML Metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.artifacts.label_file import read_labels
from pipeline.artifacts.names import METADATA_FILE

if TYPE_CHECKING:
    from pipeline.metadata.reader import ExecutionRecord

CARD = "model_card.json"


def version_lineage(path: Path, version: int) -> dict[str, Any]:
    """Returns the lineage of a version, as JSON.

    Args:
        path: Folder of its SavedModel, in the serving folder of a root or elsewhere.
        version: Number of the version.

    Returns:
        `version`; `labels`, a list or None; `card`, the model card or None; `run`, the pipeline run
        that pushed the version: pipeline, id, time of the push, executions, artifact of the model,
        and who overrode the quality gate and why. `run` is None if unknown, with the reason in
        `run_missing`.
    """
    run, missing = None, ""
    try:
        run = _run(path.resolve(), version)
    except _UnknownRunError as error:
        missing = str(error)
    return {
        "version": version,
        "labels": read_labels(path),
        "card": _card(path, run),
        "run": run,
        "run_missing": missing,
    }


class _UnknownRunError(Exception):
    """The run of a version is unknown. The message says why."""


def _run(path: Path, version: int) -> dict[str, Any]:
    file = path.parent.parent / METADATA_FILE
    if not file.is_file():
        raise _UnknownRunError(
            f"no {METADATA_FILE} next to the served folder: {file} does not exist"
        )
    # Imported here: serving does not need ML Metadata.
    from pipeline.metadata.pushed_models import push_of, pushed_models
    from pipeline.metadata.reader import run_executions, sqlite_store

    store = sqlite_store(str(file))
    push = push_of(path, pushed_models(store))
    if push is None:
        raise _UnknownRunError(f"ML Metadata has no push of version {version}")
    executions = run_executions(store, push.run_id)
    return {
        "pipeline": push.pipeline,
        "id": push.run_id,
        "pushed_at": push.pushed_at,
        "pushed_artifact": push.artifact_id,
        "model_artifact": push.model_id,
        "model_uri": push.model_uri,
        "forced": _override(executions),
        "executions": [{"id": e.id, "node": e.node_id, "state": e.state} for e in executions],
    }


def _override(executions: Iterable[ExecutionRecord]) -> dict[str, str] | None:
    """Returns who overrode the quality gate and why; None if the model passed it."""
    outputs = (output for execution in executions for output in execution.outputs.values())
    for artifacts in outputs:
        for artifact in artifacts:
            if reason := artifact.properties.get("forced_reason"):
                by = artifact.properties.get("forced_by", "")
                return {"by": str(by), "reason": str(reason)}
    return None


def _card(path: Path, run: dict[str, Any] | None) -> dict[str, Any] | None:
    """Returns the model card in the SavedModel, else the one next to the pushed model."""
    folders = [path, path / "assets.extra", Path(run["model_uri"]) if run else path]
    for folder in folders:
        try:
            return json.loads((folder / CARD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return None
