"""The folder of one run, `<root>/runs/<run id>/`, and the lock of the root folder."""

import datetime
import errno
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import yaml

from data.conversion.manifest import discarded_csv
from data.storage import files
from pipeline.artifacts.names import METADATA_FILE
from pipeline.config.schema import Config


class RootError(ValueError):
    """The root folder cannot be used; the message says why and what to do."""


@contextmanager
def locked_root(root: Path, photos: str | None = None) -> Iterator[None]:
    """Creates the root folder and locks it for one run.

    Args:
        root: the root folder.
        photos: the folder of photos that the run reads; it must not contain the root.

    Raises:
        RootError: the folder cannot be created or written to, is inside the folder of photos or is
            locked by another run, or its ML Metadata cannot be used.
    """
    if photos and root.resolve().is_relative_to(Path(photos).resolve()):
        raise RootError(
            f"the root folder {root} is inside the photos, {photos}: its files would be read as "
            "photos; choose another --root"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / ".lock").open("w")
    except OSError as error:
        raise RootError(
            f"cannot write to the root folder {root}: {error.strerror}; choose another --root"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RootError(
                f"another run uses {root}; wait until it has ended or choose another --root"
            ) from None
        check_metadata(root / METADATA_FILE)
        yield


def check_metadata(file: Path) -> None:
    """Checks that ML Metadata can be read and written; a missing file is valid.

    Raises:
        RootError: the SQLite file is damaged, locked by another program or not writable.
    """
    if not file.exists():
        return
    try:
        with closing(sqlite3.connect(file, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        found = str(error)
    if found != "ok":
        raise RootError(
            f"ML Metadata in {file} cannot be used: {found}; close the program that has it open, "
            "restore the file from a backup, or choose another --root"
        )


def error_text(error: BaseException, root: Path) -> str:
    """Returns the message of an error; adds what to do if the disk is full."""
    text = str(error)
    if any(os.strerror(code) in text for code in (errno.ENOSPC, errno.EDQUOT)):
        text += f"; free space or inodes for {root} (see df -h and df -i) and run again"
    return text


class RunFolder:
    """The folder of a run: log, resolved config, skipped files and summary.

    Creates the folder with a new run id, the local time as `YYYYmmdd-HHMMSS`.

    Args:
        root: the root folder.
    """

    def __init__(self, root: Path):
        started = datetime.datetime.now()
        while True:
            self.run_id = started.strftime("%Y%m%d-%H%M%S")
            self.path = root / "runs" / self.run_id
            try:
                self.path.mkdir(parents=True)
                break
            except FileExistsError:
                started += datetime.timedelta(seconds=1)

    @property
    def log(self) -> Path:
        """Log file with all output of the run."""
        return self.path / "run.log"

    @property
    def summary(self) -> Path:
        """JSON file with the summary of the run."""
        return self.path / "summary.json"

    @property
    def discarded(self) -> Path:
        """CSV file with the skipped files."""
        return self.path / "discarded.csv"

    def write_config(self, config: Config) -> None:
        """Writes the resolved config as YAML."""
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        files.write(str(self.path / "config.yaml"), text.encode("utf-8", "surrogateescape"))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes the summary atomically."""
        text = json.dumps(summary, indent=2) + "\n"
        files.write(str(self.summary), text.encode("utf-8", "surrogateescape"))

    def write_discarded(self, rows: Iterable[Mapping[str, object]]) -> None:
        """Writes path, row, reason and exception of each skipped file."""
        self.discarded.write_bytes(discarded_csv(rows))
