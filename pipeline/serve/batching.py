"""Dynamic batching: rows of concurrent requests share one call of the model.

A batch takes the rows that arrived while earlier batches ran. A single request is not delayed;
under load the batches grow. While other batches run, an idle worker waits briefly for its even
share of the rows, because clients with a fresh reply are about to send the next request.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

from pipeline.serve.errors import RequestError

_MAX_DELAY_S = 0.005
"""Seconds that an idle worker waits for its share while other batches run."""


class Batcher:
    """A queue of rows for one function. Must be used from one event loop.

    Args:
        run: Maps a batch of rows to one result per row. Runs in `executor` and may block. A result
            of another length fails the requests of the batch.
        executor: Thread pool; may be shared with other batchers.
        parallel: Number of batches that run in parallel.
        max_batch: Largest number of rows in a batch.
        max_waiting: Largest number of queued rows; requests beyond it are rejected.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Any]], Sequence[Any]],
        executor: Executor,
        *,
        parallel: int,
        max_batch: int,
        max_waiting: int,
    ):
        self._run = run
        self._executor = executor
        self._parallel = parallel
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[Any, asyncio.Future[Any]]] = deque()
        self._batches = 0
        self._running = 0  # rows in the running batches
        self._timer: asyncio.TimerHandle | None = None

    async def submit(self, rows: Sequence[Any]) -> list[Any]:
        """Returns the results of one request's rows, in order.

        Raises:
            RequestError: 503 if too many rows are queued.
        """
        if self._waiting and len(self._waiting) + len(rows) > self._max_waiting:
            raise RequestError(
                503, f"the server is busy: {len(self._waiting)} instances are waiting; try again"
            )
        loop = asyncio.get_running_loop()
        results = [loop.create_future() for _ in rows]
        self._waiting.extend(zip(rows, results, strict=True))
        if not self._batches or len(self._waiting) >= self._share():
            # Not called directly: requests that are being parsed may still join the batch.
            loop.call_soon(self._start)
        elif self._timer is None:
            self._timer = loop.call_later(_MAX_DELAY_S, self._start)
        return await asyncio.gather(*results)

    def _share(self) -> int:
        """Returns the rows of a batch if all pending rows were spread evenly over the workers."""
        rows = len(self._waiting) + self._running
        return min(math.ceil(rows / self._parallel), self._max_batch)

    def _start(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        while self._waiting and self._batches < self._parallel:
            share = min(self._share(), len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(share)]
            self._batches += 1
            self._running += share
            done = loop.run_in_executor(self._executor, self._run, [row for row, _ in batch])
            done.add_done_callback(partial(self._finish, [result for _, result in batch]))

    def _finish(
        self, results: list[asyncio.Future[Any]], done: asyncio.Future[Sequence[Any]]
    ) -> None:
        self._batches -= 1
        self._running -= len(results)
        if not self._batches or len(self._waiting) >= self._share():
            self._start()
        error = done.exception()
        if not error and len(done.result()) != len(results):
            error = RequestError(
                500, f"the model returned {len(done.result())} rows for {len(results)} instances"
            )
        for number, result in enumerate(results):
            if result.cancelled():  # the client disconnected
                continue
            if error:
                result.set_exception(error)
            else:
                result.set_result(done.result()[number])
