"""Files by path or URI. `gs://` and the like go through Beam's file systems."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def is_remote(path: str) -> bool:
    """Whether `path` is a URI such as `gs://bucket/object`."""
    return "://" in path


def open_read(path: str) -> BinaryIO:
    """Opens a file for reading bytes, as they are.

    Raises:
        OSError: The file is missing or cannot be read.
    """
    if not is_remote(path):
        return Path(path).open("rb")
    from apache_beam.io.filesystem import CompressionTypes

    return _beam().open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def exists(path: str) -> bool:
    """Whether a file or folder is there."""
    return _beam().exists(path) if is_remote(path) else Path(path).exists()


def size(path: str) -> int:
    """The size of a file in bytes."""
    if not is_remote(path):
        return Path(path).stat().st_size
    return _beam().match([path])[0].metadata_list[0].size_in_bytes


def names(folder: str) -> list[str]:
    """The names of the files in a folder, sorted."""
    if not is_remote(folder):
        return sorted(path.name for path in Path(folder).iterdir() if path.is_file())
    found = _beam().match([join(folder, "*")])[0].metadata_list
    return sorted(entry.path.rsplit("/", 1)[1] for entry in found)


def read(path: str) -> bytes:
    """The whole content of a file."""
    with open_read(path) as stream:
        return stream.read()


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """Opens a file for writing that appears under its name only when it is complete.

    Object stores show an object only once it is closed; local files are renamed into place.
    """
    if is_remote(path):
        from apache_beam.io.filesystem import CompressionTypes

        with _beam().create(path, compression_type=CompressionTypes.UNCOMPRESSED) as stream:
            yield stream
        return
    scratch = Path(f"{path}.{uuid.uuid4().hex[:8]}.tmp")
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


def make_parent(path: str) -> None:
    """Makes the folder of a local file; object stores need none."""
    if not is_remote(path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)


def join(folder: str, *parts: str) -> str:
    """A path inside a folder, local or remote."""
    return (
        "/".join([folder.rstrip("/"), *parts]) if is_remote(folder) else str(Path(folder, *parts))
    )


def _beam():
    from apache_beam.io.filesystems import FileSystems

    return FileSystems
