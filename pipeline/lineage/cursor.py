"""How far a project's copy of a store has come."""

from __future__ import annotations

import json

from pipeline.lineage.lease import CLOCKS, Notes
from pipeline.metadata.graph import Id, MetadataSource

_OVERLAP = CLOCKS * 1000
"""Milliseconds looked back."""


class Cursor:
    """The time of the last update that was mirrored, what was mirrored shortly before it, and what
    was left behind."""

    def __init__(self, notes: Notes, name: str):
        self._notes = notes
        self._name = f"{name}/cursor"
        kept = json.loads(notes.note(self._name) or "{}")
        self._through: int | None = kept.get("through")
        self._recent: dict[str, int] = kept.get("recent", {})
        self._behind: dict[Id, int] = dict(kept.get("behind", []))

    def pending(self, source: MetadataSource) -> dict[Id, int]:
        """Time of last update by execution: what is new in the order of time, then what was left
        behind before, so that it holds up nothing."""
        since = None if self._through is None else self._through - _OVERLAP
        new = {id: time for time, id in source.updates(since) if self._recent.get(str(id)) != time}
        return new | {id: time for id, time in self._behind.items() if id not in new}

    def advance(self, seen: dict[Id, int], behind: set[Id]) -> None:
        """Notes that these updates of executions are confirmed, or are left behind for later."""
        if not seen:
            return
        self._through = max(self._through or 0, *seen.values())
        self._recent |= {str(id): time for id, time in seen.items()}
        oldest = self._through - _OVERLAP
        self._recent = {id: time for id, time in self._recent.items() if time >= oldest}
        kept = {id: time for id, time in self._behind.items() if id not in seen}
        self._behind = kept | {id: time for id, time in seen.items() if id in behind}
        self._write()

    def forget(self) -> None:
        """Makes everything new again."""
        self._through, self._recent, self._behind = None, {}, {}
        self._write()

    def _write(self) -> None:
        # As pairs: JSON would make texts of the ids.
        behind = [[id, time] for id, time in self._behind.items()]
        state = {"through": self._through, "recent": self._recent, "behind": behind}
        self._notes.write_note(self._name, json.dumps(state))
