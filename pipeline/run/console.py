"""The terminal output of a run: one line per component and a progress bar.

The output of libraries, from Python or from C++, goes to the log file of the run.
"""

import logging
import os
import subprocess
import sys
from pathlib import Path

from tqdm import tqdm

INTERRUPTED = "interrupted; the same command resumes from the last completed step"
"""Message of a run that the user has interrupted."""
NAME_WIDTH = 18
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Console:
    """Redirects the output of the process to a log and writes chosen lines to the terminal.

    A context manager: inside, file descriptors 1 and 2 are redirected to the log, so that the
    output of C++ libraries is logged too. Only `line`, `text` and `progress` write to the terminal.

    Args:
        log_path: the log file, which is appended to.
        verbose: write the log to the terminal too.

    Example:
        >>> with Console(Path("run.log")) as console:
        ...     print("to the log")
        ...     console.line("Trainer", "2 epochs", seconds=1.25)
          Trainer              1.2 s  2 epochs
    """

    def __init__(self, log_path: Path, verbose: bool = False):
        self._log_path = log_path
        self._verbose = verbose
        self._bar: tqdm | None = None
        self._tee: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Console":
        sys.stdout.flush()
        sys.stderr.flush()
        self._saved = os.dup(1), os.dup(2)
        # File names can contain bytes that are not UTF-8.
        self._terminal = os.fdopen(os.dup(1), "w", buffering=1, errors="backslashreplace")
        if self._verbose:
            source, sink = os.pipe()
            self._tee = subprocess.Popen(["tee", "-a", str(self._log_path)], stdin=source)
            os.close(source)
        else:
            sink = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        os.close(sink)
        self._open_logging()
        return self

    def __exit__(self, *_: object) -> None:
        self._close_bar()
        sys.stdout.flush()
        sys.stderr.flush()
        self._close_logging()
        for saved, standard in zip(self._saved, (1, 2), strict=True):
            os.dup2(saved, standard)
            os.close(saved)
        if self._tee:
            self._tee.wait()
        self._terminal.close()

    def line(self, name: str, text: str, seconds: float | None = None) -> None:
        """Writes `name  seconds  text`; removes the progress bar first."""
        self._close_bar()
        took = "" if seconds is None else f"{seconds:.1f} s"
        self._write(f"  {name:<{NAME_WIDTH}}{took:>8}  {text}\n")
        logging.getLogger(__name__).info("%s %s %s", name, took, text)

    def text(self, text: str = "") -> None:
        """Writes `text` and a line break."""
        self._close_bar()
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        try:
            self._terminal.write(text)
        except OSError:  # the reader has exited, as after `| head`: only the log is written
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._terminal.fileno())
            os.close(null)
            logging.getLogger(__name__).warning("the terminal is closed")

    def progress(
        self, done: int, total: int, unit: str = "it", name: str = "", note: str = ""
    ) -> None:
        """Draws or advances a progress bar with a rate; draws nothing without a terminal.

        Args:
            done: completed work in `unit`.
            total: total work in `unit`.
            unit: name of the unit, e.g. `img`.
            name: name of the work; a new name starts a new bar.
            note: text after the rate, e.g. the current loss.
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

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _open_logging(self) -> None:
        # Writes to the redirected descriptor like all other output, so that lines keep their order.
        self._log = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")
        logging.basicConfig(
            level=logging.INFO,
            format=_LOG_FORMAT,
            handlers=[logging.StreamHandler(self._log)],
            force=True,
        )
        self._handler = _ToConsole(self)
        logging.getLogger("pawprint").addHandler(self._handler)

    def _close_logging(self) -> None:
        logging.getLogger("pawprint").removeHandler(self._handler)
        logging.basicConfig(force=True, handlers=[logging.NullHandler()])
        self._log.close()


class _ToConsole(logging.Handler):
    """Writes log records of `pawprint` to the terminal: progress as a bar, others as lines."""

    def __init__(self, console: Console):
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        progress = getattr(record, "progress", None)
        if progress is None:
            self._console.line("", record.getMessage())
        else:
            name, _, note = record.getMessage().partition(": ")
            done, total, unit = (progress[key] for key in ("done", "total", "unit"))
            self._console.progress(done, total, unit, name, note)
