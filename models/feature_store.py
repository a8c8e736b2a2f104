"""Features of photos, kept in a folder for later trainings.

The folder holds one folder a network (its weights, the size of its images, the view), in which each
training adds files of the features that it had to compute. A file is whole or not there, and all of
them may be removed at any time: what is missing is computed again.
"""

from __future__ import annotations

import hashlib
import io
import logging
import uuid
import zipfile
import zlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from models import files

_log = logging.getLogger("pawprint")
_SUFFIX = ".npz"
_DIGEST_BYTES = 16
DTYPE = np.float16
"""Half the bytes of float32; a feature is kept to three digits."""


def digests(images: Iterable[bytes]) -> list[bytes]:
    """The key of each photo: a digest of the pixels that the network sees."""
    return [hashlib.blake2b(image, digest_size=_DIGEST_BYTES).digest() for image in images]


class FeatureStore:
    """The features of one network in one view, by digest of the photo.

    Storage that fails is no error: features are then computed again, with a warning.

    Args:
        folder: shared by all networks, on any file system that TensorFlow knows; None keeps
            nothing.
        network: what the features depend on beside the photo: weights, size, view.
        limit: bytes that the folder may take, over all networks.
    """

    def __init__(self, folder: str | None, network: str, limit: int):
        self._root = folder.rstrip("/") if folder else None
        self._limit = limit
        name = hashlib.sha256(network.encode()).hexdigest()[:16]
        self._folder = f"{self._root}/{name}"

    def load(self) -> dict[bytes, np.ndarray]:
        """All features that are kept, float16 [n], by digest."""
        found: dict[bytes, np.ndarray] = {}
        for path in self._files(f"{self._folder}/*{_SUFFIX}"):
            found |= _unpack(path)
        return found

    def add(self, features: dict[bytes, np.ndarray]) -> None:
        """Keeps further features, and removes the oldest files beyond the limit."""
        if not self._root or not features:
            return
        content = io.BytesIO()
        keys = np.frombuffer(b"".join(features), np.uint8).reshape(-1, _DIGEST_BYTES)
        np.savez(content, keys=keys, features=np.stack(list(features.values())).astype(DTYPE))
        try:
            files.write(f"{self._folder}/{uuid.uuid4().hex}{_SUFFIX}", content.getvalue())
            self._shrink()
        except (tf.errors.OpError, OSError) as error:
            _log.warning("features are not kept in %s: %s", self._folder, error)

    def _shrink(self) -> None:
        # A killed process leaves a temporary file, which counts too.
        paths = self._files(f"{self._root}/*/*{_SUFFIX}*")
        stats = {path: tf.io.gfile.stat(path) for path in paths}
        size = sum(stat.length for stat in stats.values())
        for path in sorted(paths, key=lambda each: stats[each].mtime_nsec):
            if size <= self._limit:
                return
            size -= stats[path].length
            tf.io.gfile.remove(path)

    def _files(self, pattern: str) -> list[str]:
        if not self._root:
            return []
        try:
            return sorted(tf.io.gfile.glob(pattern))
        except (tf.errors.OpError, OSError) as error:
            _log.warning("kept features cannot be read: %s", error)
            return []


def _unpack(path: str) -> dict[bytes, np.ndarray]:
    try:
        with np.load(io.BytesIO(files.read(path) or b"")) as arrays:
            keys, rows = arrays["keys"], arrays["features"]
        return dict(zip(map(np.ndarray.tobytes, keys), rows, strict=True))
    except (
        tf.errors.OpError,
        OSError,
        ValueError,
        KeyError,
        EOFError,
        RuntimeError,  # A damaged header may name an encryption or a compression.
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        _log.warning("kept features in %s cannot be read and are computed again: %s", path, error)
        return {}
