"""Pushes models to a folder of versions; layout: `pipeline.artifacts.version_folder`."""

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
from pipeline.push.target import (
    PushedVersion,
    PushError,
    PushTarget,
    TargetStatus,
    VersionStatus,
    rolled_back_error,
)

LATEST = "LATEST"
_INCOMING = ".incoming-"
_OUTGOING = ".outgoing-"


class FolderTarget(PushTarget):
    """A folder on this machine or on a mounted file system.

    Args:
        folder: folder of versions; created by the first push.
        keep_last: number of versions to keep.
        lock_timeout_s: seconds to wait for a concurrent push to the folder.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> target = FolderTarget(folder / "serving")
        >>> for name in ("a", "b"):
        ...     (folder / name).mkdir()
        ...     _ = (folder / name / "saved_model.pb").write_text(name)
        ...     target.push(str(folder / name)).version
        '1'
        '2'
        >>> target.rollback()
        '1'
        >>> [(version.name, version.state) for version in target.status().versions]
        [('1', 'served'), ('2', 'rolled back')]
    """

    def __init__(self, folder: Path, keep_last: int = 5, lock_timeout_s: float = 300):
        self._folder = folder
        self._keep_last = keep_last
        self._lock_timeout_s = lock_timeout_s

    def check(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PushError(f"cannot create the folder {self._folder}: {error.strerror}") from None
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise PushError(f"cannot write to the folder {self._folder}")

    def push(self, model: str) -> PushedVersion:
        with self._locked():
            digest = folder_digest(Path(model))
            for number in rolled_back(self._folder):
                if folder_digest(self._path(number, ROLLED_BACK)) == digest:
                    raise rolled_back_error(str(number), str(self._folder))
            served = served_version(self._folder)
            if served is None or folder_digest(self._path(served)) != digest:
                served = self._add(Path(model), digest)
            self._clean_up()
        return PushedVersion(str(served), str(self._path(served)))

    def status(self) -> TargetStatus:
        served = served_version(self._folder)
        rows = []
        for number in sorted(versions(self._folder) + rolled_back(self._folder)):
            hidden = not self._path(number).is_dir()
            path = self._path(number, ROLLED_BACK if hidden else "")
            state = "rolled back" if hidden else "served" if number == served else "kept"
            with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                time_s = path.stat().st_mtime
                pushed = datetime.datetime.fromtimestamp(time_s, datetime.timezone.utc)
                made = pushed.isoformat(timespec="seconds")
                share = 100 if number == served else 0
                rows.append(VersionStatus(str(number), state, share, made, str(path)))
        notes = [
            f"{path} was left by an interrupted push; the next push removes it"
            for prefix in (_INCOMING, _OUTGOING)
            for path in sorted(self._folder.glob(f"{prefix}*"))
        ]
        return TargetStatus(str(self._folder), tuple(rows), tuple(notes))

    def promote(self, version: str | None = None) -> str:
        """See `PushTarget`; a version whose number is not the highest is copied to a new one."""
        with self._locked():
            hidden = rolled_back(self._folder)
            if version is None:
                served = served_version(self._folder)
                hint = f"; rolled back: {_join(hidden)}, choose with --version" if hidden else ""
                raise PushError(
                    f"no version waits for promotion: {self._folder} serves version {served}{hint}"
                )
            number = self._parse(version, [*versions(self._folder), *hidden])
            if number in hidden:
                os.rename(self._path(number, ROLLED_BACK), self._path(number))
            if number != served_version(self._folder):
                folder = self._path(number)
                number = self._add(folder, folder_digest(folder))
            self._clean_up()
        return str(number)

    def rollback(self, version: str | None = None) -> str:
        with self._locked():
            present = versions(self._folder)
            if version is None:
                if len(present) < 2:
                    raise PushError(
                        f"no version of {self._folder} precedes {_join(present) or 'the first'}: "
                        "nothing to roll back to"
                    )
                version = str(present[-2])
            number = self._parse(version, present)
            # Ascending: an interrupted rollback leaves the served version in place.
            for newer in present[present.index(number) + 1 :]:
                os.rename(self._path(newer), self._path(newer, ROLLED_BACK))
            self._clean_up()
        return str(number)

    def _add(self, model: Path, digest: str) -> int:
        """Copies a SavedModel to a new version; the copy must have this digest."""
        taken = [0, *versions(self._folder), *rolled_back(self._folder)]
        number = max(taken) + 1
        shutil.rmtree(self._path(number, _INCOMING), ignore_errors=True)
        shutil.copytree(model, self._path(number, _INCOMING))
        if folder_digest(self._path(number, _INCOMING)) != digest:
            raise PushError(f"{model} changed while it was copied to {self._folder}; push it again")
        os.utime(self._path(number, _INCOMING))  # the time of the push, not of the training
        os.rename(self._path(number, _INCOMING), self._path(number))
        return number

    def _clean_up(self) -> None:
        """Writes LATEST; removes old versions and the leftovers of interrupted pushes."""
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

    def _parse(self, version: str, known: list[int]) -> int:
        """The number of a version; raises PushError unless it is one of `known`."""
        if not version.isdecimal() or int(version) not in known:
            raise PushError(
                f"no version {version!r} in {self._folder}; there are: {_join(sorted(known))}"
            )
        return int(version)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Locks the folder: concurrent pushes run one after the other."""
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
                            f"{self._folder} has been locked by another push for "
                            f"{self._lock_timeout_s:g} s; try again when that has ended"
                        ) from None
                    time.sleep(0.1)
            yield


def _join(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
