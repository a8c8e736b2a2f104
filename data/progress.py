"""Progress of a conversion: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int], None]

_EVERY = 10.0  # seconds between plain lines


@contextmanager
def bar(progress: Progress | None) -> Iterator[Progress]:
    """The given callback, or else one that shows images done, images/s and the time left."""
    if progress is not None:
        yield progress
    elif sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(unit="img", desc="convert") as shown:

            def update(done: int, total: int) -> None:
                if shown.total is None:
                    shown.reset(total)
                    shown.initial = shown.n = done  # of an earlier attempt: no part of the rate
                shown.update(done - shown.n)

            yield update
    else:
        yield _Lines().update


class _Lines:
    """Writes a line now and then, for logs."""

    def __init__(self):
        self._start = self._told = time.monotonic()
        self._first: int | None = None

    def update(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = done
        if done < total and now - self._told < _EVERY:
            return
        self._told = now
        rate = (done - self._first) / max(now - self._start, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        print(f"convert: {done}/{total} images, {rate:.0f} img/s{left}", file=sys.stderr)
