"""The content of a store and of the stand-in, read without the code of the mirror."""

from __future__ import annotations

import json
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.metadata.reader import sqlite_store
from tests.pipeline.lineage.conftest import PROJECT
from tests.standins.wandb.server import WandbStandIn

FINISHED = {
    mlmd.Execution.COMPLETE: "finished",
    mlmd.Execution.CACHED: "finished",
    mlmd.Execution.FAILED: "failed",
    mlmd.Execution.CANCELED: "failed",
}
Edges = set[tuple[int, int]]


def recorded(store: Path) -> dict[str, Edges]:
    """(execution, artifact) of the events: inputs, outputs made, outputs of cached executions."""
    reader = sqlite_store(str(store))
    executions = {e.id: e for e in reader.get_executions()}
    found: dict[str, Edges] = {"inputs": set(), "made": set(), "cached": set()}
    for event in reader.get_events_by_execution_ids(list(executions)):
        state = executions[event.execution_id].last_known_state
        if event.type == mlmd.Event.INPUT:
            kind = "inputs"
        elif event.type == mlmd.Event.OUTPUT:
            kind = "cached" if state == mlmd.Execution.CACHED else "made"
        else:
            continue
        found[kind].add((event.execution_id, event.artifact_id))
    return found


def states(store: Path) -> dict[int, str]:
    """The state that W&B must show, by execution."""
    executions = sqlite_store(str(store)).get_executions()
    return {
        e.id: FINISHED[e.last_known_state] for e in executions if e.last_known_state in FINISHED
    }


class Held:
    """What a stand-in holds of a store."""

    def __init__(self, server: WandbStandIn, store: Path):
        with server._state:
            runs = list(server.project(PROJECT).all_runs.values())
        note = sqlite_store(str(store)).get_context_by_type_and_name("pawprint.lineage", "identity")
        identity = note.custom_properties["text"].string_value
        facts = {r.name: r.settings().get("mlmd", {}) for r in runs}
        self.runs = {
            facts[r.name]["execution"]: r for r in runs if facts[r.name].get("store") == identity
        }
        self.outside = [r for r in runs if r.jobType == "outside"]
        self.facts = {id: facts[r.name] for id, r in self.runs.items()}

    @property
    def edges(self) -> dict[str, Edges]:
        """The same as `recorded`, from W&B's side."""
        found: dict[str, Edges] = {"inputs": set(), "made": set(), "cached": set()}
        for execution, run in self.runs.items():
            found["inputs"] |= {(execution, mlmd_id(a)) for a in run.inputs}
            found["made"] |= {(execution, mlmd_id(a)) for a in run.outputs}
            if "cached" in run.tags:
                listed = [n for names in self.facts[execution]["outputs"].values() for n in names]
                found["cached"] |= {(execution, int(n.split("-")[-2])) for n in listed}
        return found

    @property
    def states(self) -> dict[int, str]:
        return {execution: run.state for execution, run in self.runs.items()}


def mlmd_id(artifact) -> int:
    """The id in the store of an artifact version of the stand-in."""
    assert artifact.state == "COMMITTED"
    return json.loads(artifact.metadata)["mlmd_id"]


def versions(server: WandbStandIn) -> dict[str, int]:
    """Committed versions by collection."""
    return {
        name: sum(v.state == "COMMITTED" for v in collection.versions)
        for name, collection in server.project(PROJECT).collections.items()
    }
