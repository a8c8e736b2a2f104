"""Pushes into a folder of versions; `pipeline.artifacts.version_folder` has its layout."""

import contextlib
import datetime
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.artifacts.digests import folder_digest
from pipeline.artifacts.version_folder import ROLLED_BACK, rolled_back, served_version, versions
from pipeline.push.target import Pushed, PushError, Status, Target, VersionStatus, rolled_back_error

LATEST = "LATEST"
_INCOMING = ".incoming-"
_OUTGOING = ".outgoing-"


class FolderTarget(Target):
    """Pushes into a folder on this machine or on a file system that it mounts."""

    def __init__(self, folder: Path, keep_last: int = 5, lock_timeout_s: float = 300):
        """Keeps the last `keep_last` versions; waits so long for another push into the folder."""
        self._folder = folder
        self._keep_last = keep_last
        self._lock_timeout_s = lock_timeout_s

    def check(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PushError(f"cannot make the folder {self._folder}: {error.strerror}") from None
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise PushError(f"cannot write to the folder {self._folder}")

    def push(self, model: str) -> Pushed:
        with self._locked():
            digest = folder_digest(Path(model))
            for number in rolled_back(self._folder):
                if folder_digest(self._path(number, ROLLED_BACK)) == digest:
                    raise rolled_back_error(str(number), str(self._folder))
            number = served_version(self._folder)
            if number is None or folder_digest(self._path(number)) != digest:
                number = self._add(Path(model), digest)
            self._clear()
        return Pushed(str(number), str(self._path(number)))

    def status(self) -> Status:
        served = served_version(self._folder)
        rows = []
        for number in sorted(versions(self._folder) + rolled_back(self._folder)):
            aside = not self._path(number).is_dir()
            path = self._path(number, ROLLED_BACK if aside else "")
            state = "rolled back" if aside else "served" if number == served else "kept"
            with contextlib.suppress(FileNotFoundError):  # removed while we look
                made = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.timezone.utc)
                made = made.isoformat(timespec="seconds")
                share = 100 if number == served else 0
                rows.append(VersionStatus(str(number), state, share, made, str(path)))
        notes = [
            f"{path} was left by a push that died; the next push removes it"
            for prefix in (_INCOMING, _OUTGOING)
            for path in sorted(self._folder.glob(f"{prefix}*"))
        ]
        return Status(str(self._folder), tuple(rows), tuple(notes))

    def promote(self, version: str | None = None) -> str:
        """A version comes back under its number, or a new one if its own is not the highest."""
        with self._locked():
            aside = rolled_back(self._folder)
            if version is None:
                served = served_version(self._folder)
                known = f"; set aside: {_listed(aside)}, choose with --version" if aside else ""
                raise PushError(
                    f"nothing waits: version {served} is served by {self._folder}{known}"
                )
            number = self._number(version, [*versions(self._folder), *aside])
            if number in aside:
                os.rename(self._path(number, ROLLED_BACK), self._path(number))
            if number != served_version(self._folder):
                version = self._path(number)
                number = self._add(version, folder_digest(version))
            self._clear()
        return str(number)

    def rollback(self, version: str | None = None) -> str:
        with self._locked():
            present = versions(self._folder)
            if version is None:
                if len(present) < 2:
                    raise PushError(
                        f"no version of {self._folder} precedes {_listed(present) or 'the first'}: "
                        "nothing to roll back to"
                    )
                version = str(present[-2])
            number = self._number(version, present)
            # Ascending: the one served goes last, so that a rollback that dies changed nothing.
            for newer in present[present.index(number) + 1 :]:
                os.rename(self._path(newer), self._path(newer, ROLLED_BACK))
            self._clear()
        return str(number)

    def _add(self, model: Path, digest: str) -> int:
        """Copies a SavedModel in as the newest version, if what arrives has this digest."""
        taken = [0, *versions(self._folder), *rolled_back(self._folder)]
        number = max(taken) + 1
        shutil.rmtree(self._path(number, _INCOMING), ignore_errors=True)
        shutil.copytree(model, self._path(number, _INCOMING))
        if folder_digest(self._path(number, _INCOMING)) != digest:
            raise PushError(f"{model} changed while it was copied to {self._folder}; push it again")
        os.utime(self._path(number, _INCOMING))  # the time of the push, not of the training
        os.rename(self._path(number, _INCOMING), self._path(number))
        return number

    def _clear(self):
        """Writes LATEST, and removes old versions and what pushes that died have left."""
        served = served_version(self._folder)
        partial = self._folder / f".{LATEST}"
        partial.write_text(f"{served}\n")
        os.replace(partial, self._folder / LATEST)
        for old in versions(self._folder)[: -self._keep_last]:
            os.rename(self._path(old), self._path(old, _OUTGOING))
        for prefix in (_INCOMING, _OUTGOING):
            for leftover in self._folder.glob(f"{prefix}*"):
                shutil.rmtree(leftover)

    def _path(self, number: int, prefix: str = "") -> Path:
        return self._folder / f"{prefix}{number}"

    def _number(self, version: str, known: list[int]) -> int:
        if not version.isdecimal() or int(version) not in known:
            raise PushError(
                f"no version {version!r} in {self._folder}; there are: {_listed(sorted(known))}"
            )
        return int(version)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Holds the folder: two pushes at once come one after the other."""
        self._folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + self._lock_timeout_s
        with (self._folder / ".lock").open("w") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise PushError(
                            f"{self._folder} has been held by another push for "
                            f"{self._lock_timeout_s:g} s; try again when it has ended"
                        ) from None
                    time.sleep(0.1)
            yield


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
