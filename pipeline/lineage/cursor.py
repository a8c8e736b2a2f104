"""How far a project's copy of a store has come."""

from __future__ import annotations

import json

from pipeline.lineage.graph import Id
from pipeline.lineage.lease import Notes

_OVERLAP = 10 * 60 * 1000
"""Milliseconds looked back: clocks of hosts that share a store may differ."""


class Cursor:
    """The time of the last update that was mirrored, and what was mirrored shortly before it."""

    def __init__(self, notes: Notes, name: str):
        self._notes = notes
        self._name = f"{name}/cursor"
        kept = json.loads(notes.note(self._name) or "{}")
        self._through: int | None = kept.get("through")
        self._recent: dict[str, int] = kept.get("recent", {})

    @property
    def since(self) -> int | None:
        """From which update on to look; None for the first time."""
        return None if self._through is None else self._through - _OVERLAP

    def is_new(self, updated: int, id: Id) -> bool:
        """Whether this update was not mirrored yet."""
        return self._recent.get(str(id)) != updated

    def advance(self, mirrored: list[tuple[int, Id]]) -> None:
        """Notes that these updates are confirmed, in the order of time."""
        if not mirrored:
            return
        self._through = max(self._through or 0, mirrored[-1][0])
        self._recent |= {str(id): updated for updated, id in mirrored}
        self._recent = {k: v for k, v in self._recent.items() if v >= self.since}
        state = {"through": self._through, "recent": self._recent}
        self._notes.write_note(self._name, json.dumps(state))
