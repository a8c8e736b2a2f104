"""What the user of a run sees: one line a component, a progress bar on long work, nothing else.

Everything that libraries print, from Python or from C++, goes to the run's log file.
"""

import logging
import os
import subprocess
import sys
from pathlib import Path

from tqdm import tqdm

NAME_WIDTH = 18
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Console:
    """The terminal while a run's output is redirected to its log.

    Use as a context manager: inside, file descriptors 1 and 2 (so C++ libraries too) lead to the
    log and only `line` and `progress` reach the terminal. With `verbose` the log is shown as well.
    """

    def __init__(self, log_path: Path, verbose: bool = False):
        self._log_path = log_path
        self._verbose = verbose
        self._bar: tqdm | None = None
        self._tee: subprocess.Popen | None = None

    def __enter__(self) -> "Console":
        sys.stdout.flush()
        sys.stderr.flush()
        self._saved = os.dup(1), os.dup(2)
        # File names can hold bytes that are no text.
        self._terminal = os.fdopen(os.dup(1), "w", buffering=1, errors="backslashreplace")
        if self._verbose:
            self._tee = subprocess.Popen(["tee", "-a", str(self._log_path)], stdin=subprocess.PIPE)
            sink = self._tee.stdin.fileno()
        else:
            sink = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        if not self._verbose:
            os.close(sink)
        self._open_logging()
        return self

    def __exit__(self, *_):
        self._close_bar()
        sys.stdout.flush()
        sys.stderr.flush()
        self._close_logging()
        for saved, standard in zip(self._saved, (1, 2), strict=True):
            os.dup2(saved, standard)
            os.close(saved)
        if self._tee:
            self._tee.stdin.close()
            self._tee.wait()
        self._terminal.close()

    def line(self, name: str, text: str, seconds: float | None = None):
        """Prints `name  seconds  text`, below whatever progress bar was running."""
        self._close_bar()
        took = "" if seconds is None else f"{seconds:.1f} s"
        self._write(f"  {name:<{NAME_WIDTH}}{took:>8}  {text}\n")
        logging.getLogger(__name__).info("%s %s %s", name, took, text)

    def text(self, text: str = ""):
        """Prints `text` as it is."""
        self._close_bar()
        self._write(f"{text}\n")

    def _write(self, text: str):
        try:
            self._terminal.write(text)
        except OSError:  # nobody reads any more, as after `| head`: the log goes on alone
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._terminal.fileno())
            os.close(nowhere)
            logging.getLogger(__name__).warning("the terminal is closed")

    def progress(self, done: int, total: int, unit: str = "it", name: str = "", note: str = ""):
        """Draws or advances a bar with a rate; off a terminal nothing is drawn.

        Args:
            done: work finished so far, in `unit`.
            total: all the work, in `unit`.
            unit: e.g. `img`.
            name: what is being done; a new name starts a new bar.
            note: shown behind the rate, e.g. the current loss.
        """
        if not self._terminal.isatty():
            return
        if self._bar is None or self._bar.desc.rstrip(": ") != name or self._bar.total != total:
            self._close_bar()
            self._bar = tqdm(
                desc=name, total=total, unit=unit, file=self._terminal, leave=False, miniters=1
            )
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)

    def _close_bar(self):
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _open_logging(self):
        # The handler writes to the redirected descriptor, as everything else does, so that the
        # order of lines is the order of events.
        self._log = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
        logging.basicConfig(
            level=logging.INFO,
            format=_LOG_FORMAT,
            handlers=[logging.StreamHandler(self._log)],
            force=True,
        )
        self._handler = _ToConsole(self)
        logging.getLogger("pawprint").addHandler(self._handler)

    def _close_logging(self):
        logging.getLogger("pawprint").removeHandler(self._handler)
        logging.basicConfig(force=True, handlers=[logging.NullHandler()])
        self._log.close()


class _ToConsole(logging.Handler):
    """Shows the records of the `pawprint` logger: progress as a bar, the rest as a line."""

    def __init__(self, console: Console):
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord):
        progress = getattr(record, "progress", None)
        if progress is None:
            self._console.line("", record.getMessage())
        else:
            name, _, note = record.getMessage().partition(": ")
            done, total, unit = (progress[key] for key in ("done", "total", "unit"))
            self._console.progress(done, total, unit, name, note)
