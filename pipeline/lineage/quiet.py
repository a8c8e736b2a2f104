"""The terminal of a mirror: what it says itself, and nothing that libraries print."""

from __future__ import annotations

import os

from tqdm import tqdm


class Quiet:
    """Leads file descriptors 1 and 2 to nowhere; only `line` and `progress` reach the terminal."""

    def __init__(self, verbose: bool = False):
        """From now on, for the rest of this process; with `verbose` the libraries are heard too."""
        self._bar: tqdm | None = None
        self._terminal = os.fdopen(os.dup(1), "w", buffering=1)
        if not verbose:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            os.close(nowhere)

    def line(self, text: str) -> None:
        """Prints one line, below a progress bar if there is one."""
        self.close()
        self._terminal.write(f"{text}\n")

    def progress(self, done: int, total: int) -> None:
        """Draws a bar of executions; off a terminal nothing is drawn."""
        if not self._terminal.isatty():
            return
        if self._bar is None:
            self._bar = tqdm(total=total, unit="exec", file=self._terminal, leave=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
