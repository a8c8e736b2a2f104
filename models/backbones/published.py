"""Weights that Keras publishes, in Keras' own download cache."""

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
_TIMEOUT_SECONDS = 10.0
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class PublishedWeights:
    """A file of weights of `keras.applications`."""

    file: str
    """Path on Keras' server."""
    digest: str | None = None
    """MD5 or SHA-256, hexadecimal, that Keras verifies; None for a file that it does not verify."""

    @property
    def name(self) -> str:
        """File name in Keras' cache."""
        return self.file.rpartition("/")[2]

    @property
    def url(self) -> str:
        """Address from which Keras downloads the file."""
        return f"{_URL}/{self.file}"

    def find(self) -> str:
        """Returns the file's path in Keras' cache; downloads the file if it is missing.

        Raises:
            ValueError: The file is missing or damaged and cannot be downloaded. Raised within
                seconds if the server does not answer.
        """
        path = os.path.join(_keras_cache(), self.name)
        problem = self._problem_of(path)
        if problem is None:
            return path
        reason = _connection_error(self.url)
        if reason is None:
            import tf_keras  # Takes seconds to import and writes to the terminal.

            try:
                with _timeout(_TIMEOUT_SECONDS):
                    found: str = tf_keras.utils.get_file(
                        self.name, self.url, cache_subdir="models", file_hash=self.digest
                    )
                reason = self._problem_of(found)
                if reason is None:
                    return found
            except Exception as error:  # Keras raises bare exceptions.
                reason = str(error)
        raise ValueError(
            f"{path} {problem} and cannot be downloaded ({reason}). Download {self.url} to the "
            f"folder {os.path.dirname(path)}"
        )

    def _problem_of(self, path: str) -> str | None:
        """Describes what is wrong with the file at a path; None for an intact file."""
        if not os.path.isfile(path):
            return "is missing"
        if self.digest:
            algorithm = "md5" if len(self.digest) == 32 else "sha256"
            intact = file_digest(path, algorithm) == self.digest
        else:
            intact = _is_whole_hdf5(path)
        return None if intact else "is incomplete or altered"


def file_digest(path: str, algorithm: str = "sha256") -> str:
    """Computes the hexadecimal digest of a file, on any file system that TensorFlow supports.

    Args:
        path: path of the file.
        algorithm: name of the algorithm for `hashlib.new`.

    Raises:
        FileNotFoundError: The file does not exist.
        OSError: The file cannot be read.
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
    """Returns the folder that `tf_keras.utils.get_file` uses for `cache_subdir="models"`."""
    home = os.path.join(os.path.expanduser("~"), ".keras")
    with suppress(OSError):
        os.makedirs(home, exist_ok=True)  # Keras creates it on import.
    return os.path.join(home if os.access(home, os.W_OK) else "/tmp/.keras", "models")


def _is_whole_hdf5(path: str) -> bool:
    import h5py

    try:
        with h5py.File(path):
            return True
    except OSError:
        return False


def _connection_error(url: str) -> str | None:
    """Describes why a server cannot be reached within `_TIMEOUT_SECONDS`; None if it answers.

    A socket timeout would apply to each of the host's addresses, and not to the DNS look-up.
    """
    reasons = [f"no answer within {_TIMEOUT_SECONDS:.0f} s"]

    def connect() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            # A new opener, because that of `urlopen` caches the proxies of its first call.
            with urllib.request.build_opener().open(request, timeout=_TIMEOUT_SECONDS):
                reasons.clear()
        except (OSError, http.client.HTTPException) as error:
            reasons[0] = str(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_TIMEOUT_SECONDS)
    return next(iter(reasons), None)


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """Sets the default socket timeout, which limits each read rather than the whole download."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
