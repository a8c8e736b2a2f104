"""The position of a mirror in the history of a metadata store."""

from __future__ import annotations

import json
from collections.abc import Collection

from pipeline.lineage.lease import CLOCK_SKEW_S
from pipeline.metadata.graph import Id, MetadataSource

_OVERLAP_MS = CLOCK_SKEW_S * 1000
"""Milliseconds before the last update that are read again, for hosts with a slow clock."""


class Cursor:
    """Which updates of a store were mirrored into a project; kept as a note in the store.

    Holds the time of the last mirrored update, the updates mirrored shortly before it, and the
    executions to retry.

    Args:
        source: The metadata store.
        name: Name of the project.
    """

    def __init__(self, source: MetadataSource, name: str):
        self._source = source
        self._name = f"{name}/cursor"
        state = json.loads(source.note(self._name) or "{}")
        self._through: int | None = state.get("through")
        self._recent: dict[str, int] = state.get("recent", {})
        self._retry: dict[Id, int] = dict(state.get("behind", []))

    def pending(self) -> dict[Id, int]:
        """Returns the time of the last update of each execution to mirror.

        New updates come first, in order of time; retries come last, so that they delay nothing.
        """
        since = None if self._through is None else self._through - _OVERLAP_MS
        updates = self._source.updates(since)
        new = {id: time for time, id in updates if self._recent.get(str(id)) != time}
        return new | {id: time for id, time in self._retry.items() if id not in new}

    def advance(self, seen: dict[Id, int], retry: Collection[Id]) -> None:
        """Marks updates as mirrored, except those of executions to retry."""
        if not seen:
            return
        self._through = max(self._through or 0, *seen.values())
        self._recent |= {str(id): time for id, time in seen.items()}
        oldest = self._through - _OVERLAP_MS
        self._recent = {id: time for id, time in self._recent.items() if time >= oldest}
        kept = {id: time for id, time in self._retry.items() if id not in seen}
        self._retry = kept | {id: time for id, time in seen.items() if id in retry}
        self._write()

    def reset(self) -> None:
        """Marks all updates as new."""
        self._through, self._recent, self._retry = None, {}, {}
        self._write()

    def _write(self) -> None:
        # Pairs, because the keys of a JSON object are strings.
        retry = [[id, time] for id, time in self._retry.items()]
        state = {"through": self._through, "recent": self._recent, "behind": retry}
        self._source.write_note(self._name, json.dumps(state))
