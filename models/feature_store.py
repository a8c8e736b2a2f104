"""The cache of features on disk, shared by trainings.

The cache has one folder per network (its weights, the size of its images, the view). Each training
adds files with the features that it computed. Files are written atomically and may be removed at
any time: missing features are computed again.
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
from numpy.typing import NDArray

from models import files

_log = logging.getLogger("pawprint")
_SUFFIX = ".npz"
_DIGEST_BYTES = 16
DTYPE = np.float16
"""Type of cached features: half the size of float32, with three significant digits."""


def digests(images: Iterable[bytes]) -> list[bytes]:
    """Returns the key of each image: a digest of its preprocessed pixels."""
    return [hashlib.blake2b(image, digest_size=_DIGEST_BYTES).digest() for image in images]


class FeatureStore:
    """The cached features of one network and view, by digest of the image.

    A failure of the storage is logged as a warning; the features are computed again.

    Args:
        folder: folder of all networks, on any file system that TensorFlow supports; None disables
            the cache.
        network: identifies the network's weights and image size, and the view.
        limit: size limit of the folder in bytes, over all networks.
    """

    def __init__(self, folder: str | None, network: str, limit: int):
        self._root = folder.rstrip("/") if folder else None
        self._limit = limit
        name = hashlib.sha256(network.encode()).hexdigest()[:16]
        self._folder = f"{self._root}/{name}"

    def load(self) -> dict[bytes, NDArray[np.float16]]:
        """Returns all cached features, float16 [features], by digest."""
        found: dict[bytes, NDArray[np.float16]] = {}
        for path in self._files(f"{self._folder}/*{_SUFFIX}"):
            found |= _unpack(path)
        return found

    def add(self, features: dict[bytes, NDArray[np.float16]]) -> None:
        """Adds features in a new file, and removes the oldest files beyond the limit."""
        if not self._root or not features:
            return
        content = io.BytesIO()
        keys = np.frombuffer(b"".join(features), np.uint8).reshape(-1, _DIGEST_BYTES)
        np.savez(content, keys=keys, features=np.stack(list(features.values())).astype(DTYPE))
        try:
            files.write(f"{self._folder}/{uuid.uuid4().hex}{_SUFFIX}", content.getvalue())
            self._shrink()
        except (tf.errors.OpError, OSError) as error:
            _log.warning("cannot write features to %s: %s", self._folder, error)

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
            _log.warning("cannot read cached features: %s", error)
            return []


def _unpack(path: str) -> dict[bytes, NDArray[np.float16]]:
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
        _log.warning("cannot read %s; its features are computed again: %s", path, error)
        return {}
