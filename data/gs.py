"""Objects in Google Cloud Storage, through its own client library, by `gs://bucket/name`.

Set `STORAGE_EMULATOR_HOST` to talk to a local server instead; the client honours it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from data.errors import DataError

PREFIX = "gs://"
READ_AHEAD = 1
"""Photos that a worker fetches at a time: an object takes tens of milliseconds, mostly waiting."""

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
    """A stream of an object's content, fetched in chunks."""
    with _as_os_error(uri):
        blob = _blob(uri)
        blob.reload(timeout=_TIMEOUT)
        return blob.open("rb", chunk_size=_CHUNK, raw_download=True, timeout=_TIMEOUT)


def upload(path: str, uri: str) -> None:
    """Sends a local file; the object appears once it is complete."""
    with _as_os_error(uri):
        _blob(uri).upload_from_filename(path, timeout=_TIMEOUT)


def exists(uri: str) -> bool:
    """Whether there is an object of this name, or one below it."""
    return any(name == "" or name.startswith("/") for name, _, _ in _list(uri))


def is_object(uri: str) -> bool:
    """Whether there is an object of just this name."""
    with _as_os_error(uri):
        return _blob(uri).exists(timeout=_TIMEOUT)


def entries(folder: str) -> Iterator[tuple[str, int, str]]:
    """(path below the folder, size in bytes, digest of the content) of each object in a folder.

    The digest is the store's MD5; objects that were composed have none, their CRC-32C and size
    stand for it.
    """
    return _list(folder.rstrip("/") + "/")


def delete_folder(folder: str) -> None:
    """Deletes every object in a folder."""
    with _as_os_error(folder):
        for name, _, _ in list(entries(folder)):
            _blob(f"{folder.rstrip('/')}/{name}").delete(timeout=_TIMEOUT)


def _list(uri: str) -> Iterator[tuple[str, int, str]]:
    bucket, prefix = _split(uri)
    with _as_os_error(uri):
        fields = "items(name,size,md5Hash,crc32c),nextPageToken"
        for blob in _client().list_blobs(bucket, prefix=prefix, fields=fields, timeout=_TIMEOUT):
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
    client._http.mount("https://", HTTPAdapter(pool_maxsize=READ_AHEAD))
    return client


def _blob(uri: str):
    bucket, name = _split(uri)
    return _client().bucket(bucket).blob(name)


def _split(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix(PREFIX).partition("/")
    if not uri.startswith(PREFIX) or not bucket:
        raise DataError(f"Not a Cloud Storage address: {uri}", "Expected gs://bucket/name.")
    return bucket, name


@contextmanager
def _as_os_error(uri: str) -> Iterator[None]:
    """Turns the client's errors into the ones that local files raise."""
    from google.api_core.exceptions import GoogleAPIError, NotFound
    from requests import RequestException

    try:
        yield
    except NotFound as error:
        raise FileNotFoundError(f"{uri}: {error}") from error
    except (GoogleAPIError, RequestException) as error:
        raise OSError(f"{uri}: {error}") from error
