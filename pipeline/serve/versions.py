"""The versions of a model: which are there, which are in memory, which one is served."""

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
_RETRY_S = 30  # until a version that could not be loaded is tried again
_SINGLE = 1  # the number of a SavedModel that is in no folder of versions
_Stamp = tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class Status:
    """State of one version, in TensorFlow Serving's words."""

    version: int
    state: str
    error: str = ""


class Versions:
    """Follows a folder of versions, as the folder changes, without a pause in serving.

    A new version is loaded and warmed up beside the one that is served and then takes its place;
    requests that have begun end on the version they began with. A version that cannot be loaded
    changes nothing. A number whose folder is another one now is loaded anew.

    Args:
        folder: a folder of versions, or one SavedModel.
        load: makes a served model of a SavedModel's folder and version; called in a thread.
        max_loaded: versions in memory at the same time, at least the served one.

    Raises:
        StartError: `folder` is neither.
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
            raise StartError(f"no such folder: {folder}; a first push makes it")

    def present(self) -> list[int]:
        """Version numbers in the folder, ascending."""
        return [_SINGLE] if self._single else versions(self._folder)

    def wanted(self) -> int | None:
        """The version that is to be served; None where there is none."""
        return _SINGLE if self._single else served_version(self._folder)

    async def follow(self, poll: float) -> None:
        """Looks at the folder every `poll` seconds, for ever."""
        told = ""
        while True:
            await asyncio.sleep(poll)
            try:
                await self.refresh()
                told = ""
            except RequestError:  # told in the status and the log
                pass
            except Exception as error:  # a disk that fails once must not end the following
                if told != str(error):
                    LOG.exception("cannot look at %s; trying again", self._folder)
                told = str(error)

    async def refresh(self) -> None:
        """Serves what the folder says now, and forgets versions that are gone."""
        wanted = self.wanted()
        self._errors = {v: e for v, e in self._errors.items() if v == wanted}
        for version in [v for v in self._loaded if self._is_replaced(v)]:
            del self._loaded[version]
        if self._is_due(wanted):
            self.served = await self.get(wanted)
            LOG.warning("serving version %d", wanted)
        present = set(self.present())
        for version in [v for v in self._loaded if v not in present]:
            if self.served and version != self.served.version:
                del self._loaded[version]

    async def get(self, version: int | None = None) -> ServedModel:
        """A version, loaded if it is not in memory; None means the one that is served.

        Raises:
            RequestError: 404, there is no such version; 503, it cannot be loaded, or none is there.
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
            stamp = _stamp(self._path(version))  # before: what changes meanwhile is seen
            model = await self._read(version)
            self._loaded[version], self._stamps[version] = model, stamp
            self._drop_oldest(keep=version)
            return model

    def status(self) -> list[Status]:
        """The state of every version in the folder, newest first."""
        return [
            Status(version, self._state(version), self._errors.get(version, ""))
            for version in sorted({*self.present(), *self._loaded}, reverse=True)
        ]

    def _is_due(self, wanted: int | None) -> bool:
        """Whether a version is to be loaded and served now; a broken one only now and then."""
        if wanted is None or (self.served and self.served is self._loaded.get(wanted)):
            return False
        return wanted not in self._errors or time.monotonic() > self._try_again

    def _is_replaced(self, version: int) -> bool:
        """Whether a loaded version's folder is another one now; one that is gone is not."""
        return _stamp(self._path(version)) not in (None, self._stamps[version])

    def _path(self, version: int) -> Path:
        return self._folder if self._single else self._folder / str(version)

    def _nothing_served(self) -> str:
        text = f"no version in {self._folder} is ready to be served"
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
        except Exception as error:  # whatever a damaged model raises
            if self._errors.get(version) != str(error):
                LOG.error("version %d cannot be loaded: %s", version, error)
            self._errors[version] = str(error)
            self._try_again = time.monotonic() + _RETRY_S
            raise RequestError(503, f"version {version} cannot be loaded: {error}") from error
        finally:
            self._loading.discard(version)
        self._errors.pop(version, None)
        # A model is a million Python objects that live long; left to the collector, they would be
        # looked at again in each large request (41 ms instead of 5 for an array of pixels).
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        return model

    def _drop_oldest(self, keep: int) -> None:
        served = self.served.version if self.served else keep
        for version in [v for v in self._loaded if v not in (keep, served)]:
            if len(self._loaded) <= self._max_loaded:
                break
            del self._loaded[version]


def _stamp(folder: Path) -> _Stamp:
    """What a folder is told by from another of its name; None where there is none."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
