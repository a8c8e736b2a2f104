"""Reads the records of a W&B run that lies on disk."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

# LevelDB's log format (google/leveldb, doc/log_format.md) behind a header of W&B's own: blocks, in
# which each piece of a record has a CRC-32, its length and its kind.
_IDENT = b":W&B"
_FILE_HEADER = 7
_BLOCK = 32768
_PIECE = struct.Struct("<IHB")
_FULL, _LAST = 1, 4


def records(folder: str) -> Iterator:
    """The records (`wandb_internal_pb2.Record`) of an offline run, up to one that is half there.

    Args:
        folder: `wandb/offline-run-…`.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    [name] = (name for name in os.listdir(folder) if name.endswith(".wandb"))
    with open(f"{folder}/{name}", "rb") as stream:
        for content in _contents(stream):
            yield Record.FromString(content)


def _contents(stream: BinaryIO) -> Iterator[bytes]:
    """Each whole record; ends before a piece that is cut off or whose checksum is wrong."""
    if not stream.read(_FILE_HEADER).startswith(_IDENT):
        return
    content = b""
    while True:
        left = _BLOCK - stream.tell() % _BLOCK
        if left < _PIECE.size:  # too little for a piece: padding
            stream.seek(left, os.SEEK_CUR)
        header = stream.read(_PIECE.size)
        if len(header) < _PIECE.size:
            return
        checksum, length, kind = _PIECE.unpack(header)
        piece = stream.read(length)
        if len(piece) < length or zlib.crc32(bytes([kind]) + piece) != checksum:
            return
        content += piece
        if kind in (_FULL, _LAST):
            yield content
            content = b""
