"""The terminal of a mirror: what it says itself, and nothing that libraries print."""

from __future__ import annotations

import os
import sys

from tqdm import tqdm


class Quiet:
    """Leads file descriptors 1 and 2 to nowhere; only `line` and `progress` reach the terminal."""

    def __init__(self, verbose: bool = False):
        self._verbose = verbose
        self._bar: tqdm | None = None
        self._ended = False

    def __enter__(self) -> Quiet:
        sys.stdout.flush()
        sys.stderr.flush()
        self._saved = os.dup(1), os.dup(2)
        self._terminal = os.fdopen(os.dup(1), "w", buffering=1)
        if not self._verbose:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        return self

    def __exit__(self, *_):
        sys.stdout.flush()
        sys.stderr.flush()
        for saved, standard in zip(self._saved, (1, 2), strict=True):
            os.dup2(saved, standard)
            os.close(saved)

    def line(self, text: str):
        """Prints one line, below a progress bar if there is one."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if not self._ended:
            self._terminal.write(f"{text}\n")

    def last_line(self, text: str):
        """Prints a line after which no other thread's line is printed."""
        self.line(text)
        self._ended = True

    def progress(self, done: int, total: int):
        """Draws a bar of executions; off a terminal nothing is drawn."""
        if not self._terminal.isatty():
            return
        if self._bar is None:
            self._bar = tqdm(total=total, unit="exec", file=self._terminal, leave=False)
        self._bar.update(done - self._bar.n)
