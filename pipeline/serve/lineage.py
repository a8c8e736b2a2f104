"""Where a served version comes from: its model card, and its run in ML Metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.artifacts.label_file import read_labels

CARD = "model_card.json"
METADATA = "metadata.sqlite"


def lineage_of(path: Path, version: int) -> dict[str, Any]:
    """What is known of a version's origin.

    Args:
        path: its SavedModel, in the serving folder of a root or anywhere else.
        version: its number.

    Returns:
        `version`; `labels` (list, or None); `card` (the model card, or None); `run` (pipeline, id,
        time of the push, the executions that made the version, the model's artifact, and who forced
        its blessing and why, or None), or None with the reason in `run_missing`.
    """
    run, missing = None, ""
    try:
        run = _run(path.resolve(), version)
    except _Unknown as unknown:
        missing = str(unknown)
    return {
        "version": version,
        "labels": read_labels(path),
        "card": _card(path, run),
        "run": run,
        "run_missing": missing,
    }


class _Unknown(Exception):
    pass


def _run(path: Path, version: int) -> dict[str, Any]:
    file = path.parent.parent / METADATA
    if not file.is_file():
        raise _Unknown(f"there is no {METADATA} beside the folder that is served")
    # ML Metadata takes a moment to import, and is not needed to serve.
    from pipeline.metadata.pushed_models import push_of, pushed_models
    from pipeline.metadata.reader import run_executions, sqlite_store

    store = sqlite_store(str(file))
    push = push_of(path, pushed_models(store))
    if push is None:
        raise _Unknown(f"ML Metadata knows of no push of version {version}")
    executions = run_executions(store, push.pipeline, push.run_id)
    return {
        "pipeline": push.pipeline,
        "id": push.run_id,
        "pushed_at": push.pushed_at,
        "pushed_artifact": push.artifact_id,
        "model_artifact": push.model_id,
        "model_uri": push.model_uri,
        "forced": _forced(executions),
        "executions": [{"id": e.id, "node": e.node_id, "state": e.state} for e in executions],
    }


def _forced(executions) -> dict[str, str] | None:
    """Who blessed the model although it failed the quality gate, and why."""
    for execution in executions:
        for artifact in (one for made in execution.outputs.values() for one in made):
            if reason := artifact.properties.get("forced_reason"):
                return {"by": artifact.properties.get("forced_by", ""), "reason": reason}
    return None


def _card(path: Path, run: dict | None) -> dict | None:
    """The card in the SavedModel, or the one beside the model that was pushed."""
    folders = [path, path / "assets.extra", Path(run["model_uri"]) if run else path]
    for folder in folders:
        try:
            return json.loads((folder / CARD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return None
