"""Progress of a conversion: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

Progress = Callable[[int, int], None]
"""A function of the number of rows done and the total."""

_INTERVAL = 10.0  # seconds between lines


@contextmanager
def show_progress(progress: Progress | None) -> Iterator[Progress]:
    """Yields the given callback, or one that shows images done, images/s and the time left."""
    if progress is not None:
        yield progress
    elif sys.stderr.isatty():
        from tqdm import tqdm

        with ExitStack() as open_bar:
            bar: tqdm[Any] | None = None

            def update(done: int, total: int) -> None:
                nonlocal bar
                if bar is None:  # excludes the rows of an earlier attempt from the rate
                    bar = open_bar.enter_context(
                        tqdm(total=total, initial=done, unit="img", desc="convert")
                    )
                bar.update(done - bar.n)

            yield update
    else:
        yield _ProgressLines().update


class _ProgressLines:
    """Writes a line at intervals, for logs."""

    def __init__(self) -> None:
        self._start = self._written = time.monotonic()
        self._first: int | None = None
        self._done: int | None = None

    def update(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = done  # excludes the rows of an earlier attempt from the rate
        if done == self._done or (done < total and now - self._written < _INTERVAL):
            return
        self._done = done
        self._written = now
        rate = (done - self._first) / max(now - self._start, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
        print(f"convert: {done}/{total} images, {rate:.0f} img/s{left}", file=sys.stderr)
