"""The terminal of a mirror, without the output of libraries."""

from __future__ import annotations

import os

from tqdm import tqdm


class Terminal:
    """Redirects file descriptors 1 and 2 to the null device; writes to the original terminal.

    The redirection lasts for the rest of the process.

    Args:
        verbose: Whether to keep the output of libraries.
    """

    def __init__(self, verbose: bool = False):
        self._bar: tqdm | None = None
        self._terminal = os.fdopen(os.dup(1), "w", buffering=1)
        if not verbose:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            os.close(null)

    def line(self, text: str) -> None:
        """Prints one line and removes the progress bar."""
        self.close()
        self._terminal.write(f"{text}\n")

    def progress(self, done: int, total: int) -> None:
        """Updates the progress bar, if this is a terminal."""
        if not self._terminal.isatty():
            return
        if self._bar is None:
            self._bar = tqdm(total=total, unit="exec", file=self._terminal, leave=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Removes the progress bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
