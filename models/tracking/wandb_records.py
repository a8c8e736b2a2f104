"""Reads the records of an offline W&B run from disk."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

# LevelDB's log format (google/leveldb, doc/log_format.md) after a header of W&B: blocks of record
# fragments, each with CRC-32, length and type.
_IDENT = b":W&B"
_FILE_HEADER = 7
_BLOCK = 32768
_FRAGMENT = struct.Struct("<IHB")
_FULL, _LAST = 1, 4


def records(folder: str) -> Iterator[Any]:
    """Yields the records of an offline run, up to the first incomplete one.

    Args:
        folder: `wandb/offline-run-…`.

    Yields:
        `wandb_internal_pb2.Record`.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    [name] = (name for name in os.listdir(folder) if name.endswith(".wandb"))
    with open(f"{folder}/{name}", "rb") as stream:
        for content in _contents(stream):
            yield Record.FromString(content)


def _contents(stream: BinaryIO) -> Iterator[bytes]:
    """Yields the bytes of each record; stops at a truncated or damaged fragment."""
    if not stream.read(_FILE_HEADER).startswith(_IDENT):
        return
    content = b""
    while True:
        left = _BLOCK - stream.tell() % _BLOCK
        if left < _FRAGMENT.size:  # Padding.
            stream.seek(left, os.SEEK_CUR)
        header = stream.read(_FRAGMENT.size)
        if len(header) < _FRAGMENT.size:
            return
        checksum, length, kind = _FRAGMENT.unpack(header)
        fragment = stream.read(length)
        if len(fragment) < length or zlib.crc32(bytes([kind]) + fragment) != checksum:
            return
        content += fragment
        if kind in (_FULL, _LAST):
            yield content
            content = b""
