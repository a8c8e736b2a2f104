"""Where a served version comes from: its model card, and its run in ML Metadata."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

CARD = "model_card.json"
METADATA = "metadata.sqlite"
_LABELS = "assets/labels.txt"


def lineage_of(path: Path, version: int) -> dict[str, Any]:
    """What is known of a version's origin.

    Args:
      path: its SavedModel, in the serving folder of a root or anywhere else.
      version: its number.

    Returns:
      `version`; `labels` (list, or None); `card` (the model card, or None); `run` (pipeline, id,
      time of the push, the executions that made the version, the model's artifact), or None with
      the reason in `run_missing`.
    """
    run, missing = None, ""
    try:
        run = _run(path.resolve(), version)
    except _Unknown as unknown:
        missing = str(unknown)
    return {
        "version": version,
        "labels": _labels(path / _LABELS),
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
    from pipeline import metadata_reader

    store = metadata_reader.sqlite_store(str(file))
    pushed = [
        artifact
        for artifact in store.get_artifacts_by_type("PushedModel")
        if artifact.custom_properties["pushed_version"].string_value == str(version)
        and Path(artifact.custom_properties["pushed_destination"].string_value).name == path.name
    ]
    if not pushed:
        raise _Unknown(f"ML Metadata knows of no push of version {version}")
    made = min(event.execution_id for event in store.get_events_by_artifact_ids([pushed[-1].id]))
    contexts = {c.type: c.name for c in store.get_contexts_by_execution(made)}
    executions = metadata_reader.run_executions(
        store, contexts["pipeline"], contexts["pipeline_run"]
    )
    model = _output(executions, "Trainer", "model")
    at = pushed[-1].create_time_since_epoch / 1000
    return {
        "pipeline": contexts["pipeline"],
        "id": contexts["pipeline_run"],
        "pushed_at": datetime.datetime.fromtimestamp(at, datetime.timezone.utc).isoformat(
            timespec="seconds"
        ),
        "pushed_artifact": pushed[-1].id,
        "model_artifact": model.id if model else None,
        "model_uri": model.uri if model else None,
        "executions": [{"id": e.id, "node": e.node_id, "state": e.state} for e in executions],
    }


def _output(executions, node: str, key: str):
    found = [e.outputs[key] for e in executions if e.node_id == node and e.outputs.get(key)]
    return found[-1][0] if found else None


def _card(path: Path, run: dict | None) -> dict | None:
    """The card in the SavedModel, or the one beside the model that was pushed."""
    folders = [path, path / "assets.extra", Path(run["model_uri"]) if run else path]
    for folder in folders:
        try:
            return json.loads((folder / CARD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return None


def _labels(file: Path) -> list[str] | None:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    except OSError:
        return None
    # A line break or backslash within a label is escaped, see models.signatures.
    return [line.replace("\\n", "\n").replace("\\\\", "\\") for line in lines]
