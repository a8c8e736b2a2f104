"""The header of a JPEG file, read without decoding it (ITU T.81, annex B)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from data.record.records import JPEG_MAGIC

_START_OF_SCAN = 0xDA
_END_OF_IMAGE = b"\xff\xd9"
# Frame headers whose streams libjpeg, and so TensorFlow, decodes to 8-bit pixels: baseline,
# extended sequential and progressive, all Huffman coded (table B.1).
_HUFFMAN_FRAMES = (0xC0, 0xC1, 0xC2)
# As in libjpeg: anything but a marker with a length is skipped.
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")


def frame_size(content: bytes) -> tuple[int, int]:
    """Returns width and height in pixels from the frame header; zeros without one."""
    for marker, _, body in _segments(content):
        if _is_frame(marker):
            header = content[body + 3 : body + 7].ljust(4, b"\0")
            return int.from_bytes(header[2:], "big"), int.from_bytes(header[:2], "big")
    return 0, 0


def plain_jpeg(content: bytes) -> bytes | None:
    """Returns the JPEG in these bytes if TensorFlow decodes it as it is, else None.

    This is a grey or three-colour 8-bit JPEG, cut after its last end marker: cameras append other
    data, which TensorFlow does not read. TensorFlow refuses a JPEG without the end marker, which
    Pillow opens.
    """
    if not content.startswith(JPEG_MAGIC):
        return None
    end, plain = 2, False
    for marker, start, body in _segments(content):
        if content[end:start].strip(b"\xff"):  # something other than fill bytes between segments
            return None
        if marker == _START_OF_SCAN:
            last = content.rfind(_END_OF_IMAGE, start)
            return content[: last + 2] if plain and last > 0 else None
        if _is_frame(marker):
            precision, components = content[body + 2 : body + 3], content[body + 7 : body + 8]
            plain = (
                marker in _HUFFMAN_FRAMES and precision == b"\x08" and components in (b"\1", b"\3")
            )
        end = body + _length(content, body)
    return None


def _segments(content: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields marker, offset of the marker and offset of the length after it, for each segment."""
    end = 2
    while found := _MARKER.search(content, end):
        yield found[1][0], found.start(), found.end()
        end = found.end() + _length(content, found.end())


def _length(content: bytes, body: int) -> int:
    return int.from_bytes(content[body : body + 2], "big")


def _is_frame(marker: int) -> bool:
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
