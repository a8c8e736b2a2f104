"""The folder of one run, `<root>/runs/<run id>/`, and the lock that keeps runs apart."""

import datetime
import errno
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import yaml

from data.conversion.manifest import discarded_csv
from pipeline.config.schema import Config


class RootError(ValueError):
    """The root folder cannot be used; the message says why and what to do."""


@contextmanager
def locked_root(root: Path, photos: str | None = None) -> Iterator[None]:
    """Makes the root folder and holds it for one run.

    Args:
        root: the folder.
        photos: the folder of photos that the run reads, which must not contain the root.

    Raises:
        RootError: the folder cannot be made or written to, lies inside the photos or is held by
            another run, or its ML Metadata cannot be used.
    """
    if photos and root.resolve().is_relative_to(Path(photos).resolve()):
        raise RootError(
            f"the root folder {root} is inside the photos, {photos}: its files would be taken for "
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
                f"another run is working in {root}; wait for it or choose another --root"
            ) from None
        check_metadata(root / "metadata.sqlite")
        yield


def check_metadata(file: Path) -> None:
    """Checks that ML Metadata can be read and written, where there is any yet.

    Raises:
        RootError: its SQLite file is damaged, locked by another program or not writable.
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
            f"ML Metadata in {file} cannot be used: {found}; end the program that has it open, "
            "restore the file from a copy, or choose another --root"
        )


def explained(error: Exception, root: Path) -> str:
    """An error's text; that of a full disk, whoever met it, with the remedy."""
    text = str(error)
    if any(os.strerror(code) in text for code in (errno.ENOSPC, errno.EDQUOT)):
        text += f"; free space or inodes for {root} (see df -h and df -i) and run again"
    return text


class RunFolder:
    """Where a run leaves its log, its resolved config, its discards and its summary."""

    def __init__(self, root: Path):
        """Makes a folder with a new run id, the local time to the second."""
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
        """The log of everything that was printed."""
        return self.path / "run.log"

    @property
    def summary(self) -> Path:
        """The machine-readable account of the run."""
        return self.path / "summary.json"

    @property
    def discarded(self) -> Path:
        """The files that became no record."""
        return self.path / "discarded.csv"

    def write_config(self, config: Config):
        """Writes the resolved config as YAML."""
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        _replace(self.path / "config.yaml", text)

    def write_summary(self, summary: dict):
        """Writes the summary, whole or not at all."""
        _replace(self.summary, json.dumps(summary, indent=2) + "\n")

    def write_discarded(self, rows: list[dict]):
        """Writes path, row, reason and exception of every file that was skipped."""
        self.discarded.write_bytes(discarded_csv(rows))


def _replace(path: Path, text: str):
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8", errors="surrogateescape")
    os.replace(partial, path)
