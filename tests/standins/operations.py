"""Long-running operations as Google's services return them; base of stand-ins that have some."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from tests.standins.http_service import Answer, HttpService, Request, error


class OperationsService(HttpService):
    """A service whose operations take effect after `operation_s` seconds.

    Attributes:
        operation_s: How long an operation takes.
    """

    def __init__(self):
        super().__init__()
        self.operation_s = 0.0
        self._operations: dict[str, dict] = {}
        self._pending: dict[str, tuple[float, Callable[[], dict]]] = {}
        self._dooms: list[tuple[str, str | None]] = []
        self._state = threading.RLock()

    def doom(self, method: str, message: str | None) -> None:
        """The next operation of this method fails with the message; with None it never ends
        (but with `end_operations`)."""
        self._dooms.append((method, message))

    def start(
        self,
        name: str,
        method: str,
        finish: Callable[[], dict],
        failed: Callable[[str], None] = lambda message: None,
    ) -> Answer:
        """Begins an operation.

        Args:
            name: Its resource name.
            method: What `doom` calls it.
            finish: Takes effect, and returns the response with its `@type`.
            failed: Takes effect where the operation fails.
        """
        self._operations[name] = {"name": name}
        doom = next((d for d in self._dooms if d[0] == method), None)
        due = time.monotonic() + self.operation_s
        if doom:
            self._dooms.remove(doom)
            due = math.inf
        if doom and doom[1] is not None:
            self._end(name, {"error": {"code": 9, "message": doom[1]}})
            failed(doom[1])
        else:
            self._pending[name] = (due, finish)
        self._settle()
        return Answer(self._operations[name])

    def operation(self, name: str) -> Answer:
        """An operation as it is now."""
        if name not in self._operations:
            return error(404, f"Operation {name} does not exist")
        return Answer(self._operations[name])

    def end_operations(self, after_s: float = 0.0) -> None:
        """Lets all operations that are under way take effect, now or soon."""
        with self._state:
            due = time.monotonic() + after_s
            self._pending = {name: (due, finish) for name, (_, finish) in self._pending.items()}
            self._settle()

    def _carry_out(self, request: Request) -> Answer:
        with self._state:
            self._settle()
            return super()._carry_out(request)

    def _settle(self) -> None:
        for name, (due, finish) in list(self._pending.items()):
            if time.monotonic() >= due:
                del self._pending[name]
                self._end(name, {"response": finish()})

    def _end(self, name: str, outcome: dict) -> None:
        self._operations[name] |= {"done": True} | outcome
