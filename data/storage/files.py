"""Files by path, local or `gs://`."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from data.errors import DataError
from data.storage import gs

_BLOCK = 1 << 20
_SCRATCH = ".tmp"


def is_remote(path: str) -> bool:
    """Whether `path` is in Cloud Storage."""
    return path.startswith(gs.PREFIX)


def checked(path: str | os.PathLike) -> str:
    """A path that a caller gave, without the slashes at its end, once it can be one.

    Raises:
        DataError: No path, or a URI that is not `gs://` with a bucket.
    """
    if not isinstance(path, str | os.PathLike):
        raise DataError(f"A path is text or a pathlib.Path. Received: {path!r}")
    path = os.fspath(path)
    if "\0" in path:
        raise DataError(f"A path has no zero bytes. Received: {path!r}")
    if is_remote(path):
        wrong = path.removeprefix(gs.PREFIX)[:1] in ("", "/")
    else:  # pathlib.Path makes one slash of two
        wrong = "://" in path or path.startswith("gs:/")
    if wrong:
        raise DataError(
            f"Cannot reach {path}", "Expected a local path, or gs://bucket/name as text."
        )
    return path.rstrip("/") or path[:1]


def checked_target(path: str | os.PathLike) -> str:
    """`checked`, for a folder to make.

    Raises:
        DataError: It is a whole bucket, or nothing.
    """
    folder = checked(path)
    if not folder or (is_remote(folder) and "/" not in folder.removeprefix(gs.PREFIX)):
        raise DataError(
            f"Cannot make the folder {folder!r}",
            "Expected a folder's path, or gs://bucket/folder: a bucket as a whole is none.",
        )
    return folder


def read(path: str) -> bytes:
    """The whole content of a file.

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
    """The SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open_read(path) as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def has_digest(content: bytes, path: str, digest: str) -> bool:
    """Whether the content of a file has the digest that `data.scan` lists.

    Args:
        content: What was read of it.
        path: Says which digest it is: SHA-256 (hex) of a local file, the store's of an object.
        digest: Of an object MD5 (base64), or `<crc32c>:<size>` where the store has no MD5.
    """
    if not is_remote(path):
        return hashlib.sha256(content).hexdigest() == digest
    if ":" in digest:  # the size alone: Python has no crc32c
        return digest.rpartition(":")[2] == str(len(content))
    return gs.md5(content) == digest


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    return gs.exists(path) if is_remote(path) else Path(path).exists()


def is_file(path: str) -> bool:
    """Whether this is a file."""
    return gs.is_object(path) if is_remote(path) else Path(path).is_file()


def sizes(folder: str) -> dict[str, int]:
    """The files directly in a folder, name to size in bytes, in order of their names."""
    if is_remote(folder):
        found = [(name, size) for name, size, _ in gs.entries(folder) if "/" not in name]
    else:
        found = [(p.name, p.stat().st_size) for p in Path(folder).iterdir() if p.is_file()]
    return dict(sorted(found))


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """Opens a file for writing that appears under its name only when it is complete.

    A local file is renamed into place. An object is written to a local file first, so that an
    error on the way leaves nothing in the store.
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
    """Writes a file that appears whole or not at all."""
    with replacing(path) as stream:
        stream.write(content)


def create(path: str, content: bytes) -> None:
    """Writes a file that nobody has written before: of several at once, one succeeds.

    Raises:
        FileExistsError: It is there.
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
    """Deletes a file, if it is there."""
    if is_remote(path):
        gs.delete(path)
    else:
        Path(path).unlink(missing_ok=True)


def delete_scratch(folder: str) -> None:
    """Deletes what `replacing` leaves where the process is killed; nothing in the store."""
    if not is_remote(folder):
        for path in Path(folder).rglob(f"*{_SCRATCH}"):
            path.unlink(missing_ok=True)


def delete_folder(folder: str) -> None:
    """Deletes a folder and all in it."""
    if is_remote(folder):
        gs.delete_folder(folder)
    else:
        shutil.rmtree(folder)


def join(folder: str, *parts: str) -> str:
    """A path inside a folder."""
    if is_remote(folder):
        return "/".join([folder.rstrip("/"), *parts])
    return os.path.join(folder, *parts)
