"""Reads and writes TFRecord files without TensorFlow.

Framing: length (8 bytes, little endian), masked CRC-32C of the length, data, masked CRC-32C of the
data. Source: tensorflow/core/lib/io/record_writer.h.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from typing import Protocol

import google_crc32c

from data.errors import DataError
from data.storage import files

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
MAX_RECORD = 512 << 20
"""Largest record in bytes; the raw pixels of the largest photo take 341 MiB."""


class ByteWriter(Protocol):
    """A stream to write bytes to."""

    def write(self, content: bytes, /) -> object:
        """Writes all of the bytes."""


def write(stream: ByteWriter, record: bytes) -> None:
    """Writes one record.

    Raises:
        DataError: The record is longer than `MAX_RECORD`.
    """
    if len(record) > MAX_RECORD:
        raise DataError(
            f"A record has {len(record):,} bytes, more than the {MAX_RECORD:,} that can be read",
            "Set encoding='jpeg' or a lower max_pixels.",
        )
    length = struct.pack("<Q", len(record))
    stream.write(length + _FOOTER.pack(_masked_crc(length)))
    stream.write(record)  # by itself: joining the parts would copy a large record
    stream.write(_FOOTER.pack(_masked_crc(record)))


def read(path: str) -> Iterator[bytes]:
    """Reads the records of a file, with gzip if its name ends in `.gz`.

    Raises:
        DataError: A record is longer than `MAX_RECORD` or truncated, or a checksum does not match.
    """
    with files.open_read(path) as raw:
        stream = gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw
        number = 0
        try:
            while header := stream.read(_HEADER.size):
                number += 1
                length, crc = _HEADER.unpack(header)
                if crc != _masked_crc(header[:8]):
                    raise _broken(path, number, "the checksum of its length does not match")
                if length > MAX_RECORD:
                    raise DataError(
                        f"{path}: record {number} has {length:,} bytes, more than {MAX_RECORD:,}",
                        "Convert the photos again with encoding='jpeg' or a lower max_pixels.",
                    )
                record = stream.read(length)
                if _FOOTER.unpack(stream.read(_FOOTER.size))[0] != _masked_crc(record):
                    raise _broken(path, number, "the checksum of its data does not match")
                yield record
        except (struct.error, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise _broken(
                path, number, f"the file is truncated or not a TFRecord: {error}"
            ) from error


def _broken(path: str, number: int, why: str) -> DataError:
    return DataError(f"{path}: record {number} is broken", why, "Convert the photos again.")


def _masked_crc(content: bytes) -> int:
    crc: int = google_crc32c.value(content)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
