"""Files by path: local, or `gs://` in Cloud Storage."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO

from data.errors import DataError
from data.storage import gs

_BLOCK = 1 << 20
_SCRATCH = ".tmp"


def is_remote(path: str) -> bool:
    """Whether `path` is in Cloud Storage."""
    return path.startswith(gs.PREFIX)


def checked(path: str | os.PathLike[str]) -> str:
    """Validates a path from the caller and strips the slashes at its end.

    Raises:
        DataError: Not a path, or a URI other than `gs://` with a bucket.
    """
    if not isinstance(path, str | os.PathLike):
        raise DataError(f"Expected a path as text or pathlib.Path. Received: {path!r}")
    path = os.fspath(path)
    if "\0" in path:
        raise DataError(f"A path cannot contain zero bytes. Received: {path!r}")
    if is_remote(path):
        wrong = path.removeprefix(gs.PREFIX)[:1] in ("", "/")
    else:  # pathlib.Path turns gs:// into gs:/
        wrong = "://" in path or path.startswith("gs:/")
    if wrong:
        raise DataError(
            f"Cannot reach {path}", "Expected a local path, or gs://bucket/name as text."
        )
    return path.rstrip("/") or path[:1]


def checked_target(path: str | os.PathLike[str]) -> str:
    """Validates the path of a folder to create, as `checked` does.

    Raises:
        DataError: As `checked`; or the path is empty or a whole bucket.
    """
    folder = checked(path)
    if not folder or (is_remote(folder) and "/" not in folder.removeprefix(gs.PREFIX)):
        raise DataError(
            f"Cannot create the folder {folder!r}",
            "Expected the path of a folder, or gs://bucket/folder; a whole bucket is not allowed.",
        )
    return folder


def read(path: str) -> bytes:
    """Reads the whole content of a file.

    Raises:
        OSError: The file is missing or cannot be read.
    """
    return gs.read(path) if is_remote(path) else Path(path).read_bytes()


def open_read(path: str) -> BinaryIO:
    """Opens a file for reading bytes.

    Raises:
        OSError: The file is missing or cannot be read.
    """
    return gs.open_read(path) if is_remote(path) else Path(path).open("rb")


def sha256(path: str) -> str:
    """Computes the SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open_read(path) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def has_digest(content: bytes, path: str, digest: str) -> bool:
    """Whether the content of a file matches the digest that `data.scan` listed.

    Args:
        content: The content of the file.
        path: The file; it decides the kind of digest.
        digest: SHA-256 (hex) of a local file; MD5 (base64) of an object, or `<crc32c>:<size>` of
            an object without MD5.
    """
    if not is_remote(path):
        return hashlib.sha256(content).hexdigest() == digest
    if ":" in digest:  # compares the size alone: Python has no crc32c
        return digest.rpartition(":")[2] == str(len(content))
    return gs.md5(content) == digest


def stamp(path: str | None) -> tuple[int, int] | None:
    """Returns size in bytes and modification time in nanoseconds of a local file.

    Equal stamps mean that the file has not changed. None for a remote or missing file.
    """
    if path is None or is_remote(path):
        return None
    try:
        status = Path(path).stat()
    except (OSError, ValueError):  # ValueError: a zero byte in the path
        return None
    return status.st_size, status.st_mtime_ns


def exists(path: str) -> bool:
    """Whether a file or folder exists."""
    return gs.exists(path) if is_remote(path) else Path(path).exists()


def is_file(path: str) -> bool:
    """Whether the path is a file."""
    return gs.is_object(path) if is_remote(path) else Path(path).is_file()


def sizes(folder: str) -> dict[str, int]:
    """Lists the files directly in a folder: name to size in bytes, sorted by name."""
    if is_remote(folder):
        found = [(name, size) for name, size, _ in gs.entries(folder) if "/" not in name]
    else:
        found = [(p.name, p.stat().st_size) for p in Path(folder).iterdir() if p.is_file()]
    return dict(sorted(found))


@contextmanager
def replacing(path: str) -> Iterator[IO[bytes]]:
    """Opens a file for writing; it appears under its name once it is complete.

    A local file is renamed into place. An object is written to a local file first, so an error
    leaves nothing in the store.
    """
    if is_remote(path):
        with tempfile.NamedTemporaryFile() as stream:
            yield stream
            stream.flush()
            gs.upload(stream.name, path)
        return
    scratch = Path(f"{path}.{uuid.uuid4().hex[:8]}{_SCRATCH}")
    scratch.parent.mkdir(parents=True, exist_ok=True)
    try:
        with scratch.open("wb") as stream:
            yield stream
        scratch.replace(path)
    except BaseException:
        with suppress(OSError):
            scratch.unlink()
        raise


def write(path: str, content: bytes) -> None:
    """Writes a file atomically."""
    with replacing(path) as stream:
        stream.write(content)


def create(path: str, content: bytes) -> None:
    """Writes a new file; of several concurrent calls, one succeeds.

    Raises:
        FileExistsError: The file exists.
    """
    if is_remote(path):
        with tempfile.NamedTemporaryFile() as stream:
            stream.write(content)
            stream.flush()
            gs.upload(stream.name, path, new=True)
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with Path(path).open("xb") as stream:
        stream.write(content)


def delete(path: str) -> None:
    """Deletes a file if it exists."""
    if is_remote(path):
        gs.delete(path)
    else:
        Path(path).unlink(missing_ok=True)


def delete_scratch(folder: str) -> None:
    """Deletes the temporary files that `replacing` leaves when killed; local folders only."""
    if not is_remote(folder):
        for path in Path(folder).rglob(f"*{_SCRATCH}"):
            path.unlink(missing_ok=True)


def delete_folder(folder: str) -> None:
    """Deletes a folder and its content."""
    if is_remote(folder):
        gs.delete_folder(folder)
    else:
        shutil.rmtree(folder)


def join(folder: str, *parts: str) -> str:
    """Returns the path of a file inside a folder."""
    if is_remote(folder):
        return "/".join([folder.rstrip("/"), *parts])
    return os.path.join(folder, *parts)
