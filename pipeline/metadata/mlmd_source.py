"""Reads ML Metadata with its own client: SQLite, MySQL or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from google.protobuf import json_format
from ml_metadata import MetadataStore, errors
from ml_metadata.metadata_store import ListOptions, OrderByField
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.metadata.graph import Artifact, Edge, Execution, Id, StoreError

_STATES = {
    mlmd.Execution.COMPLETE: "complete",
    mlmd.Execution.CACHED: "cached",
    mlmd.Execution.FAILED: "failed",
    mlmd.Execution.CANCELED: "canceled",
}
_INPUTS = (mlmd.Event.INPUT, mlmd.Event.INTERNAL_INPUT, mlmd.Event.DECLARED_INPUT)
_OUTPUTS = (mlmd.Event.OUTPUT, mlmd.Event.INTERNAL_OUTPUT, mlmd.Event.DECLARED_OUTPUT)
_CHUNK = 100
_DIGITS = 18
_NOTES = "pawprint.lineage"
_TEXT = "text"


class MlmdSource:
    """Reads a store of ML Metadata; implements `graph.MetadataSource`.

    Notes are contexts of the type `pawprint.lineage`.

    Args:
        store: client of the store.
        uri: URI of the store for messages.
    """

    errors: tuple[type[Exception], ...] = (errors.StatusError,)

    def __init__(self, store: MetadataStore, uri: str = ""):
        self.uri = uri
        self._store = store

    def parse_id(self, text: str) -> Id:
        if not text.isdecimal() or len(text) > _DIGITS:
            raise StoreError(f"ids in {self.uri} are numbers. Received: {text!r}")
        return int(text)

    def updates(self, since: int | None) -> list[tuple[int, Id]]:
        if since is None:
            found = [(e.last_update_time_since_epoch, e.id) for e in self._all_executions()]
        else:
            latest = self._latest(lambda e: e.last_update_time_since_epoch < since)
            found = [(e.last_update_time_since_epoch, e.id) for e in latest]
        return sorted(pair for pair in found if since is None or pair[0] >= since)

    def run_ids(self, run: str) -> list[Id]:
        context = self._store.get_context_by_type_and_name("pipeline_run", run)
        if context is None:
            return []
        return sorted(e.id for e in self._store.get_executions_by_context(context.id))

    def runs(self) -> list[str]:
        contexts = self._store.get_contexts_by_type("pipeline_run")
        return [context.name for context in sorted(contexts, key=lambda c: c.id)]

    def executions(self, ids: Iterable[Id]) -> list[Execution]:
        ids = list(ids)
        found = sorted(self._store.get_executions_by_id(ids), key=lambda e: e.id)
        events: dict[int, list[mlmd.Event]] = {}
        for event in self._store.get_events_by_execution_ids(ids) if ids else ():
            events.setdefault(event.execution_id, []).append(event)
        return [self._execution(e, events.get(e.id, [])) for e in found]

    def artifacts(self, ids: Iterable[Id]) -> list[Artifact]:
        return [
            Artifact(
                a.id,
                a.type,
                a.uri,
                mlmd.Artifact.State.Name(a.state).lower(),
                a.name,
                _properties(a),
                a.create_time_since_epoch,
            )
            for a in self._store.get_artifacts_by_id(list(ids))
        ]

    def producers(self, artifacts: Iterable[Id]) -> dict[Id, Id]:
        artifacts = list(artifacts)
        made: dict[Id, Id] = {}
        for event in self._store.get_events_by_artifact_ids(artifacts) if artifacts else ():
            if event.type == mlmd.Event.OUTPUT:
                # A cached execution has the same output artifact and a higher id.
                first = made.get(event.artifact_id, event.execution_id)
                made[event.artifact_id] = min(first, event.execution_id)
        return made

    def note(self, name: str) -> str | None:
        context = self._store.get_context_by_type_and_name(_NOTES, name)
        return context.custom_properties[_TEXT].string_value if context else None

    def create_note(self, name: str, text: str) -> bool:
        note = mlmd.Context(type_id=self._notes_type(), name=name)
        note.custom_properties[_TEXT].string_value = text
        try:
            self._store.put_contexts([note])
        except errors.AlreadyExistsError:
            return False
        return True

    def write_note(self, name: str, text: str) -> None:
        note = self._store.get_context_by_type_and_name(_NOTES, name)
        if note is None and self.create_note(name, text):
            return
        note = note or self._store.get_context_by_type_and_name(_NOTES, name)
        note.custom_properties[_TEXT].string_value = text
        self._store.put_contexts([note])

    def _notes_type(self) -> int:
        try:
            return self._store.get_context_type(_NOTES).id
        except errors.NotFoundError:
            pass
        # On PostgreSQL two processes can create two types of the same name, and then two notes of
        # the same name. An external id is unique in every backend.
        kind = mlmd.ContextType(name=_NOTES, external_id=_NOTES)
        try:
            return self._store.put_context_type(kind)
        except (errors.AlreadyExistsError, errors.InternalError):  # The latter is PostgreSQL's.
            return self._store.get_context_type(_NOTES).id

    def _all_executions(self) -> Iterator[mlmd.Execution]:
        newest = self._store.get_executions(
            ListOptions(limit=1, order_by=OrderByField.ID, is_asc=False)
        )
        last = newest[0].id if newest else 0
        for start in range(1, last + 1, _CHUNK):
            yield from self._store.get_executions_by_id(range(start, min(start + _CHUNK, last + 1)))

    def _latest(self, is_old: Callable[[mlmd.Execution], bool]) -> list[mlmd.Execution]:
        limit = _CHUNK
        while True:
            options = ListOptions(limit=limit, order_by=OrderByField.UPDATE_TIME, is_asc=False)
            found = self._store.get_executions(options)
            if len(found) < limit or is_old(found[-1]):
                return found
            limit *= 4

    def _execution(self, execution: mlmd.Execution, events: list[mlmd.Event]) -> Execution:
        contexts = self._store.get_contexts_by_execution(execution.id)
        return Execution(
            execution.id,
            execution.type,
            execution.name,
            _STATES.get(execution.last_known_state, "running"),
            _properties(execution),
            tuple((c.type, c.name) for c in contexts),
            execution.create_time_since_epoch,
            execution.last_update_time_since_epoch,
            _edges(events, _INPUTS),
            _edges(events, _OUTPUTS),
        )


def _edges(events: list[mlmd.Event], types: tuple[int, ...]) -> tuple[Edge, ...]:
    return tuple(
        Edge(event.path.steps[0].key if event.path.steps else "", event.artifact_id)
        for event in events
        if event.type in types
    )


def _properties(entity: mlmd.Artifact | mlmd.Execution) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in [*entity.properties.items(), *entity.custom_properties.items()]:
        kind = value.WhichOneof("value")
        if kind in ("struct_value", "proto_value"):
            found[name] = json_format.MessageToDict(getattr(value, kind))
        elif kind:
            found[name] = getattr(value, kind)
    return found
