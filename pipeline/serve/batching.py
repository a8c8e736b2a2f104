"""Rows of many requests, answered together.

A batch takes what came in while others ran: alone, a request waits for nobody; under load, batches
grow by themselves. As long as something runs, a free worker waits a moment for its even share of
the rows, because the clients that were answered last are about to ask again.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

from pipeline.serve.errors import RequestError

_PATIENCE = 0.005
"""Seconds that a free worker waits for its share while others run."""


class Batcher:
    """A queue of rows for one function. Belongs to one event loop.

    Args:
        run: answers a batch, one answer a row, else its requests fail; called in `executor`, where
            it may block.
        executor: its threads are shared with other batchers.
        parallel: batches that run at the same time.
        max_batch: rows in a batch.
        max_waiting: rows that may wait; a request over that is refused.
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
        self._waiting: deque[tuple[Any, asyncio.Future]] = deque()
        self._batches = 0
        self._running = 0  # rows in these batches
        self._timer: asyncio.TimerHandle | None = None

    async def submit(self, rows: Sequence[Any]) -> list[Any]:
        """The answers to the rows of one request, in their order.

        Raises:
            RequestError: 503, too many rows are waiting.
        """
        if self._waiting and len(self._waiting) + len(rows) > self._max_waiting:
            raise RequestError(
                503, f"the server is busy: {len(self._waiting)} instances are waiting; try again"
            )
        loop = asyncio.get_running_loop()
        answers = [loop.create_future() for _ in rows]
        self._waiting.extend(zip(rows, answers, strict=True))
        if not self._batches or len(self._waiting) >= self._share():
            # After the requests that are being read right now, which may still join the batch.
            loop.call_soon(self._start)
        elif self._timer is None:
            self._timer = loop.call_later(_PATIENCE, self._start)
        return await asyncio.gather(*answers)

    def _share(self) -> int:
        """Rows of a batch, if all that are here were spread evenly over the workers."""
        rows = len(self._waiting) + self._running
        return min(math.ceil(rows / self._parallel), self._max_batch)

    def _start(self):
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
            done.add_done_callback(partial(self._finish, [answer for _, answer in batch]))

    def _finish(self, waiting: list[asyncio.Future], done: asyncio.Future):
        self._batches -= 1
        self._running -= len(waiting)
        if not self._batches or len(self._waiting) >= self._share():
            self._start()
        error = done.exception()
        if not error and len(done.result()) != len(waiting):
            error = RequestError(
                500, f"the model gave {len(done.result())} answers to {len(waiting)} instances"
            )
        for number, answer in enumerate(waiting):
            if answer.cancelled():  # the client has gone
                continue
            if error:
                answer.set_exception(error)
            else:
                answer.set_result(done.result()[number])
