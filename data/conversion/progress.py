"""Progress of a conversion: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

Progress = Callable[[int, int], None]

_EVERY = 10.0  # seconds between plain lines


@contextmanager
def bar(progress: Progress | None) -> Iterator[Progress]:
    """The given callback, or else one that shows images done, images/s and the time left."""
    if progress is not None:
        yield progress
    elif sys.stderr.isatty():
        from tqdm import tqdm

        with ExitStack() as open_bar:
            shown = None

            def update(done: int, total: int) -> None:
                nonlocal shown
                if shown is None:  # what an earlier attempt did is no part of the rate
                    made = tqdm(total=total, initial=done, unit="img", desc="convert")
                    shown = open_bar.enter_context(made)
                shown.update(done - shown.n)

            yield update
    else:
        yield _Lines().update


class _Lines:
    """Writes a line now and then, for logs."""

    def __init__(self):
        self._start = self._told = time.monotonic()
        self._first: int | None = None
        self._done: int | None = None

    def update(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = done  # by an earlier attempt: no part of the rate
        if done == self._done or (done < total and now - self._told < _EVERY):
            return
        self._done = done
        self._told = now
        rate = (done - self._first) / max(now - self._start, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        print(f"convert: {done}/{total} images, {rate:.0f} img/s{left}", file=sys.stderr)
