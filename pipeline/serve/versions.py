"""The versions of a model: available, loaded and served."""

import asyncio
import dataclasses
import gc
import logging
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.artifacts.version_folder import served_version, versions
from pipeline.serve.errors import RequestError, StartError
from pipeline.serve.served_model import ServedModel

LOG = logging.getLogger(__name__)
_RETRY_S = 30
"""Seconds until a version that failed to load is tried again."""
_SINGLE = 1
"""Version number of a SavedModel outside a folder of versions."""
_Stamp = tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class ModelVersionStatus:
    """State of one version, as in TensorFlow Serving: START, LOADING, AVAILABLE or END."""

    version: int
    state: str
    error: str = ""


class Versions:
    """Watches a folder of versions and serves the current one without downtime.

    A new version is loaded and warmed up before it replaces the served one; requests in progress
    complete on their version. If a version fails to load, the served version stays. A version whose
    folder was replaced is reloaded.

    Args:
        folder: Folder of versions, or one SavedModel.
        load: Loads the SavedModel of a folder and version number. Called in a thread.
        max_loaded: Largest number of versions in memory, the served one included.

    Raises:
        StartError: `folder` does not exist.
    """

    def __init__(self, folder: Path, load: Callable[[Path, int], ServedModel], max_loaded: int):
        self._folder = folder
        self._load = load
        self._max_loaded = max_loaded
        self._single = (folder / "saved_model.pb").is_file()
        self._loaded: dict[int, ServedModel] = {}
        self._stamps: dict[int, _Stamp] = {}
        self._errors: dict[int, str] = {}
        self._try_again = 0.0
        self._loading: set[int] = set()
        self._lock = asyncio.Lock()
        self.served: ServedModel | None = None
        if not folder.is_dir():
            raise StartError(f"no such folder: {folder}; the first push creates it")

    def present(self) -> list[int]:
        """Returns the version numbers in the folder, ascending."""
        return [_SINGLE] if self._single else versions(self._folder)

    def target(self) -> int | None:
        """Returns the version to serve; None if the folder has none."""
        return _SINGLE if self._single else served_version(self._folder)

    async def follow(self, poll: float) -> None:
        """Refreshes every `poll` seconds until cancelled."""
        logged = ""
        while True:
            await asyncio.sleep(poll)
            try:
                await self.refresh()
                logged = ""
            except RequestError:  # already in the status and the log
                pass
            except Exception as error:  # e.g. a temporary I/O error
                if logged != str(error):
                    LOG.exception("cannot read %s; trying again", self._folder)
                logged = str(error)

    async def refresh(self) -> None:
        """Loads and serves the current version, and unloads removed ones."""
        target = self.target()
        self._errors = {v: e for v, e in self._errors.items() if v == target}
        for version in [v for v in self._loaded if self._is_replaced(v)]:
            del self._loaded[version]
        if target is not None and self._must_load(target):
            self.served = await self.get(target)
            LOG.warning("serving version %d", target)
        present = set(self.present())
        for version in [v for v in self._loaded if v not in present]:
            if self.served and version != self.served.version:
                del self._loaded[version]

    async def get(self, version: int | None = None) -> ServedModel:
        """Returns a version, loading it if necessary; None returns the served one.

        Raises:
            RequestError: 404 for an unknown version; 503 if it cannot be loaded or none is served.
        """
        if version is None:
            if self.served is None:
                raise RequestError(503, self._nothing_served())
            return self.served
        if version in self._loaded:  # without the lock: another version may be loading
            self._loaded[version] = self._loaded.pop(version)  # now the most recently used
            return self._loaded[version]
        async with self._lock:
            if version in self._loaded:
                return self._loaded[version]
            if version not in self.present():
                known = ", ".join(map(str, self.present())) or "none"
                raise RequestError(404, f"no version {version} of the model; versions: {known}")
            stamp = _stamp(self._path(version))  # before loading, to detect a change meanwhile
            model = await self._read(version)
            self._loaded[version], self._stamps[version] = model, stamp
            self._evict(keep=version)
            return model

    def status(self) -> list[ModelVersionStatus]:
        """Returns the state of every version in the folder, newest first."""
        return [
            ModelVersionStatus(version, self._state(version), self._errors.get(version, ""))
            for version in sorted({*self.present(), *self._loaded}, reverse=True)
        ]

    def _must_load(self, target: int) -> bool:
        """Returns whether to load the target now; one that failed is retried after a delay."""
        if self.served and self.served is self._loaded.get(target):
            return False
        return target not in self._errors or time.monotonic() > self._try_again

    def _is_replaced(self, version: int) -> bool:
        """Returns whether the folder of a loaded version was replaced (not just removed)."""
        return _stamp(self._path(version)) not in (None, self._stamps[version])

    def _path(self, version: int) -> Path:
        return self._folder if self._single else self._folder / str(version)

    def _nothing_served(self) -> str:
        text = f"no version in {self._folder} is ready"
        return "; ".join([text, *(f"version {v}: {error}" for v, error in self._errors.items())])

    def _state(self, version: int) -> str:
        if version in self._loaded:
            return "AVAILABLE"
        if version in self._loading:
            return "LOADING"
        return "END" if version in self._errors else "START"

    async def _read(self, version: int) -> ServedModel:
        self._loading.add(version)
        try:
            model = await asyncio.to_thread(self._load, self._path(version), version)
        except Exception as error:  # a damaged model may raise anything
            if self._errors.get(version) != str(error):
                LOG.error("version %d cannot be loaded: %s", version, error)
            self._errors[version] = str(error)
            self._try_again = time.monotonic() + _RETRY_S
            raise RequestError(503, f"version {version} cannot be loaded: {error}") from error
        finally:
            self._loading.discard(version)
        self._errors.pop(version, None)
        # Excludes the model's million long-lived objects from garbage collection, which would
        # otherwise run in each large request (41 ms instead of 5 for an array of pixels).
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        return model

    def _evict(self, keep: int) -> None:
        served = self.served.version if self.served else keep
        for version in [v for v in self._loaded if v not in (keep, served)]:
            if len(self._loaded) <= self._max_loaded:
                break
            del self._loaded[version]


def _stamp(folder: Path) -> _Stamp:
    """Identifies a folder across replacements under the same name; None if it does not exist."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
