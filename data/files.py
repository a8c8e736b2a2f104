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

from data import gs
from data.errors import DataError

_BLOCK = 1 << 20


def is_remote(path: str) -> bool:
    """Whether `path` is in Cloud Storage."""
    return path.startswith(gs.PREFIX)


def check_scheme(path: str) -> str:
    """The path, once it is known to be local or `gs://`.

    Raises:
        DataError: A URI of another scheme.
    """
    if "://" in path and not is_remote(path):
        raise DataError(f"Cannot reach {path}", "Expected a local path or gs://bucket/name.")
    return path


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
    scratch = Path(f"{path}.{uuid.uuid4().hex[:8]}.tmp")
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
