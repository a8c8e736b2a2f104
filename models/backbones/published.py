"""Weights that Keras publishes: downloaded by Keras, once, into its own cache."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_URL = "https://storage.googleapis.com/tensorflow/keras-applications"
_PATIENCE_S = 10.0
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Published:
    """A file of weights of `keras.applications`."""

    file: str
    """Path on Keras' server."""
    digest: str | None = None
    """MD5 or SHA-256, hexadecimal, by which Keras checks the file; None where it does not."""

    @property
    def name(self) -> str:
        """The file's name in Keras' cache."""
        return self.file.rpartition("/")[2]

    @property
    def url(self) -> str:
        """Where Keras downloads it from."""
        return f"{_URL}/{self.file}"

    def find(self) -> str:
        """The file's path in Keras' cache; has Keras download it where it is not there.

        Raises:
            ValueError: it is not there and cannot be downloaded; within seconds.
        """
        path = os.path.join(_keras_cache(), self.name)
        problem = self._problem_of(path)
        if problem is None:
            return path
        reason = _no_answer(self.url)
        if reason is None:
            import tf_keras  # Takes seconds and writes to the terminal: only where it is needed.

            try:
                with _timeout(_PATIENCE_S):
                    found = tf_keras.utils.get_file(
                        self.name, self.url, cache_subdir="models", file_hash=self.digest
                    )
                reason = self._problem_of(found)
                if reason is None:
                    return found
            except Exception as error:  # Keras raises bare ones.
                reason = str(error)
        raise ValueError(
            f"{path} {problem} and cannot be downloaded ({reason}). Put {self.name} into the "
            f"folder {os.path.dirname(path)} by hand, from {self.url}"
        )

    def _problem_of(self, path: str) -> str | None:
        """What is wrong with the file at a path; None where nothing is."""
        if not os.path.isfile(path):
            return "is not there"
        if self.digest:
            algorithm = "md5" if len(self.digest) == 32 else "sha256"
            intact = file_digest(path, algorithm) == self.digest
        else:
            intact = _is_whole_hdf5(path)
        return None if intact else "is incomplete or altered"


def file_digest(path: str, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file, here or on any file system that TensorFlow knows.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
    """
    digest = hashlib.new(algorithm)
    if "://" not in path:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()
    import tensorflow as tf

    try:
        if not tf.io.gfile.exists(path):
            raise FileNotFoundError(path)
        with tf.io.gfile.GFile(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except tf.errors.OpError as error:
        raise OSError(error.message) from error
    return digest.hexdigest()


def _keras_cache() -> str:
    """The folder that `tf_keras.utils.get_file` takes for `cache_subdir="models"`."""
    home = os.path.join(os.path.expanduser("~"), ".keras")
    with suppress(OSError):
        os.makedirs(home, exist_ok=True)  # As Keras does when it is imported.
    return os.path.join(home if os.access(home, os.W_OK) else "/tmp/.keras", "models")


def _is_whole_hdf5(path: str) -> bool:
    import h5py

    try:
        with h5py.File(path):
            return True
    except OSError:
        return False


def _no_answer(url: str) -> str | None:
    """Why a server does not answer, found within `_PATIENCE_S`; None where it does.

    A timeout of sockets alone holds for each of a host's addresses, and not for looking them up.
    """
    reasons = [f"no answer within {_PATIENCE_S:.0f} s"]

    def ask():
        try:
            request = urllib.request.Request(url, method="HEAD")
            # Of its own, because the opener of `urlopen` keeps its first proxies for the process.
            with urllib.request.build_opener().open(request, timeout=_PATIENCE_S):
                reasons.clear()
        except (OSError, http.client.HTTPException) as error:
            reasons[0] = str(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE_S)
    return next(iter(reasons), None)


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """Sets the timeout of sockets that name none; it is per answer, not for the whole download."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
