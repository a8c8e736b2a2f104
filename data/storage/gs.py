"""Objects in Google Cloud Storage, through its own client library, by `gs://bucket/name`.

Set `STORAGE_EMULATOR_HOST` to talk to a local server instead; the client honours it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import BinaryIO

from data.errors import DataError

PREFIX = "gs://"
CONNECTIONS = 16
"""Requests at a time: each takes tens of milliseconds, mostly waiting."""

_CHUNK = 8 << 20
_TIMEOUT = 60  # seconds without an answer


def read(uri: str) -> bytes:
    """The content of an object.

    Raises:
        FileNotFoundError: There is none.
        OSError: Anything else, after the client's own retries.
    """
    with _as_os_error(uri):
        return _blob(uri).download_as_bytes(raw_download=True, timeout=_TIMEOUT)


def open_read(uri: str) -> BinaryIO:
    """A stream of an object's content, fetched in chunks; it raises what `read` does."""
    with _as_os_error(uri):
        blob = _blob(uri)
        blob.reload(timeout=_TIMEOUT)
        stream = blob.open("rb", chunk_size=_CHUNK, raw_download=True, timeout=_TIMEOUT)
    return io.BufferedReader(_Stream(stream, uri))


def upload(path: str, uri: str, *, new: bool = False) -> None:
    """Sends a local file; the object appears once it is complete.

    Args:
        path: The file.
        uri: The object's address.
        new: Leave an object that is there already as it is.

    Raises:
        FileExistsError: It was to be new.
        OSError: Anything else, after retries: the same bytes again do no harm.
    """
    from google.cloud.storage.retry import DEFAULT_RETRY

    condition = {"if_generation_match": 0} if new else {}
    with _as_os_error(uri):
        _blob(uri).upload_from_filename(path, timeout=_TIMEOUT, retry=DEFAULT_RETRY, **condition)


def exists(uri: str) -> bool:
    """Whether there is an object of this name, or any below it; for a bucket, any at all."""
    if is_object(uri):
        return True
    try:
        return any(True for _ in _list(uri, at_most=1))
    except FileNotFoundError:  # no such bucket
        return False


def is_object(uri: str) -> bool:
    """Whether there is an object of just this name."""
    with _as_os_error(uri):
        return bool(_split(uri)[1]) and _blob(uri).exists(timeout=_TIMEOUT)


def md5(content: bytes) -> str:
    """The MD5 (base64) that Cloud Storage keeps of an object with this content."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def entries(folder: str) -> Iterator[tuple[str, int, str]]:
    """(path below the folder, size in bytes, digest of the content) of each object in a folder.

    The digest is the store's MD5; objects that were composed have none, their CRC-32C and size
    stand for it.

    Raises:
        FileNotFoundError: No such bucket.
        OSError: Anything else, after the client's own retries.
    """
    return _list(folder)


def delete(uri: str) -> None:
    """Deletes an object, if it is there."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    with suppress(FileNotFoundError), _as_os_error(uri):
        _blob(uri).delete(timeout=_TIMEOUT, retry=DEFAULT_RETRY)


def delete_folder(folder: str) -> None:
    """Deletes every object in a folder."""
    names = [f"{folder.rstrip('/')}/{name}" for name, _, _ in entries(folder)]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(delete, names))


def _list(folder: str, at_most: int | None = None) -> Iterator[tuple[str, int, str]]:
    bucket, name = _split(folder)
    prefix = f"{name}/" if (name := name.rstrip("/")) else ""
    with _as_os_error(folder):
        for blob in _client().list_blobs(
            bucket,
            prefix=prefix,
            fields="items(name,size,md5Hash,crc32c),nextPageToken",
            max_results=at_most,
            timeout=_TIMEOUT,
        ):
            digest = blob.md5_hash or f"{blob.crc32c}:{blob.size}"
            yield blob.name[len(prefix) :], blob.size, digest


@functools.cache
def _client():
    """The process's client; the library itself shares one among threads (`transfer_manager`)."""
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import storage
    from requests.adapters import HTTPAdapter

    try:
        client = storage.Client(project=None)
    except DefaultCredentialsError as error:
        raise DataError(
            "No credentials for Google Cloud",
            "Run `gcloud auth application-default login`, or set "
            "GOOGLE_APPLICATION_CREDENTIALS to a service account's key file.",
        ) from error
    for scheme in ("https://", "http://"):  # the latter for a local server
        client._http.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))
    return client


def _blob(uri: str):
    bucket, name = _split(uri)
    if not name:
        raise FileNotFoundError(f"{uri} names a bucket, not an object")
    return _client().bucket(bucket).blob(name)


def _split(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix(PREFIX).partition("/")
    if not uri.startswith(PREFIX) or not bucket:
        raise FileNotFoundError(f"{uri} names no bucket: expected gs://bucket/name")
    return bucket, name


class _Stream(io.RawIOBase):
    """An object's content whose errors, on every read, are those of local files."""

    def __init__(self, stream, uri: str):
        self._stream, self._uri = stream, uri

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        with _as_os_error(self._uri):
            block = self._stream.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


@contextmanager
def _as_os_error(uri: str) -> Iterator[None]:
    """Turns the client's errors into the ones that local files raise."""
    from google.api_core.exceptions import GoogleAPIError, NotFound, PreconditionFailed
    from google.auth.exceptions import GoogleAuthError
    from google.resumable_media import DataCorruption
    from requests import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except NotFound as error:
        raise FileNotFoundError(f"{uri}: {error}") from error
    except PreconditionFailed as error:
        raise FileExistsError(f"{uri}: {error}") from error
    except (GoogleAPIError, GoogleAuthError, RequestException, HTTPError, DataCorruption) as error:
        raise OSError(f"{uri}: {error}") from error
