"""Objects in Google Cloud Storage by `gs://bucket/name`, with Google's client library.

Set `STORAGE_EMULATOR_HOST` to use a local server instead.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from data.errors import DataError

if TYPE_CHECKING:
    from google.cloud import storage

PREFIX = "gs://"
CONNECTIONS = 16
"""Concurrent requests; each takes tens of milliseconds, mostly waiting."""

_CHUNK = 8 << 20
_TIMEOUT = 60  # seconds without a response


def read(uri: str) -> bytes:
    """Reads the content of an object.

    Raises:
        FileNotFoundError: No such object.
        OSError: Any other error, after the client's retries.
    """
    with _as_os_error(uri):
        content: bytes = _blob(uri).download_as_bytes(raw_download=True, timeout=_TIMEOUT)
    return content


def open_read(uri: str) -> BinaryIO:
    """Opens an object for reading in chunks; raises the same errors as `read`."""
    with _as_os_error(uri):
        blob = _blob(uri)
        blob.reload(timeout=_TIMEOUT)
        stream = blob.open("rb", chunk_size=_CHUNK, raw_download=True, timeout=_TIMEOUT)
    return io.BufferedReader(_Stream(stream, uri))


def upload(path: str, uri: str, *, new: bool = False) -> None:
    """Uploads a local file; the object appears once it is complete.

    Args:
        path: The file.
        uri: URI of the object.
        new: Fail if the object exists.

    Raises:
        FileExistsError: `new` is set and the object exists.
        OSError: Any other error, after retries; an upload is idempotent.
    """
    from google.cloud.storage.retry import DEFAULT_RETRY

    condition = {"if_generation_match": 0} if new else {}
    with _as_os_error(uri):
        _blob(uri).upload_from_filename(path, timeout=_TIMEOUT, retry=DEFAULT_RETRY, **condition)


def exists(uri: str) -> bool:
    """Whether an object with this name exists, or any below it; for a bucket, any object."""
    if is_object(uri):
        return True
    try:
        return any(True for _ in _list(uri, at_most=1))
    except FileNotFoundError:  # no such bucket
        return False


def is_object(uri: str) -> bool:
    """Whether an object with exactly this name exists."""
    with _as_os_error(uri):
        return bool(_split(uri)[1]) and _blob(uri).exists(timeout=_TIMEOUT)


def md5(content: bytes) -> str:
    """Computes the MD5 (base64) that Cloud Storage keeps for an object with this content."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def entries(folder: str) -> Iterator[tuple[str, int, str]]:
    """Lists the objects in a folder.

    Yields:
        Path below the folder, size in bytes, and digest of the content: the store's MD5 (base64),
        or `<crc32c>:<size>` for composed objects, which have no MD5.

    Raises:
        FileNotFoundError: No such bucket.
        OSError: Any other error, after the client's retries.
    """
    return _list(folder)


def delete(uri: str) -> None:
    """Deletes an object if it exists."""
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
def _client() -> storage.Client:
    """Returns the client of this process, shared by its threads as in `transfer_manager`."""
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import storage
    from requests.adapters import HTTPAdapter

    try:
        client = storage.Client(project=None)
    except DefaultCredentialsError as error:
        raise DataError(
            "No credentials for Google Cloud",
            "Run `gcloud auth application-default login`, or set "
            "GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account.",
        ) from error
    for scheme in ("https://", "http://"):  # http for a local server
        client._http.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))
    return client


def _blob(uri: str) -> storage.Blob:
    bucket, name = _split(uri)
    if not name:
        raise FileNotFoundError(f"{uri} is a bucket: expected gs://bucket/name")
    return _client().bucket(bucket).blob(name)


def _split(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix(PREFIX).partition("/")
    if not uri.startswith(PREFIX) or not bucket:
        raise FileNotFoundError(f"{uri} has no bucket: expected gs://bucket/name")
    return bucket, name


class _Stream(io.RawIOBase):
    """The content of an object; every read raises the errors of local files."""

    def __init__(self, stream: BinaryIO, uri: str):
        self._stream, self._uri = stream, uri

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _as_os_error(self._uri):
            block = self._stream.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)


@contextmanager
def _as_os_error(uri: str) -> Iterator[None]:
    """Translates errors of the client to those of local files."""
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
