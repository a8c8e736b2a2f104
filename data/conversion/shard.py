"""Writing one shard: the unit of work on every runner. Light to import, for worker processes."""

from __future__ import annotations

import errno
import functools
import gzip
import hashlib
import json
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO

from data.errors import DataError
from data.record import records, tfrecord
from data.record.photos import BadPhotoError, EncodeOptions, photo_features
from data.storage import files

WORK = ".work"
"""The folder of notes about an unfinished conversion."""

GZIP_LEVEL = 1
"""Of base64 pixels: half the time of zlib's default level for 9 % more bytes."""

READ_AHEAD = 8
"""Photos that a worker fetches at a time from Cloud Storage, and holds."""


def write_shard_once(job: dict, folder: str, progress: Callable[[int], None] | None = None) -> dict:
    """`write_shard`, unless an earlier attempt finished it; the report is kept as a note."""
    if report := finished_shard(job, folder):
        return report
    report = write_shard(job, folder, progress)
    files.write(_note(job, folder), json.dumps(report).encode())
    return report


def finished_shard(job: dict, folder: str) -> dict | None:
    """The report of a shard, once that is there and the file still has the reported hash."""
    shard, note = files.join(folder, job["file"]), _note(job, folder)
    if not (files.exists(note) and files.exists(shard)):
        return None
    report = json.loads(files.read(note))
    return report if files.sha256(shard) == report["sha256"] else None


def _note(job: dict, folder: str) -> str:
    return files.join(folder, WORK, f"{job['file']}.json")


def write_shard(job: dict, folder: str, progress: Callable[[int], None] | None = None) -> dict:
    """Writes the records of one shard's rows; bad photos are left out and reported.

    Args:
        job: One of `data.conversion.plan.Plan.shards`.
        folder: Where the file goes, a local folder or a URI.
        progress: Called with the number of rows done after each row.

    Returns:
        A report: file, split, records, bytes and sha256 of the file, counts (label name to
        records), discarded (path, row, reason, exception of each bad photo) and blank (path and
        label of each photo that is all but black or white).

    Raises:
        DataError: A photo changed since `data.scan` listed it.
    """
    options = EncodeOptions(**job["options"])
    counts: Counter[str] = Counter()
    discarded, blank = [], []
    with _shard_file(files.join(folder, job["file"]), job["gzip"]) as shard:
        reads = _reads([row[1] for row in job["rows"]])
        for done, (row, uri, label, values, digest) in enumerate(job["rows"], start=1):
            try:
                columns = dict(zip(job["columns"], values, strict=True))
                read = functools.partial(_listed, uri, next(reads), digest)
                told = functools.partial(blank.append, [uri, label])
                features = row_features(uri, read, columns, options, told)
                tfrecord.write(shard, records.serialize(features))
                counts[label] += 1
            except BadPhotoError as error:
                discarded.append(
                    {
                        "path": uri,
                        "row": row,
                        "reason": str(error),
                        "exception": _exception_text(error.__cause__),
                    }
                )
            except MemoryError as error:
                raise MemoryError(f"not enough memory for row {row}: {uri}") from error
            if progress:
                progress(done)
    return {
        "file": job["file"],
        "split": job["split"],
        "records": sum(counts.values()),
        "bytes": shard.bytes,
        "sha256": shard.digest.hexdigest(),
        "counts": dict(counts),
        "discarded": discarded,
        "blank": blank,
    }


def row_features(
    uri: str | None,
    read: Callable[[], bytes],
    columns: dict[str, str | int | float],
    options: EncodeOptions,
    blank: Callable[[], None] | None = None,
) -> dict[str, records.Value]:
    """The features of one row: its columns, and its photo's where it has one.

    Raises:
        BadPhotoError: The photo is missing, unreadable or broken.
    """
    features = {
        name: os.fsencode(value) if isinstance(value, str) else value
        for name, value in columns.items()
    }
    if uri is not None:
        features |= photo_features(read(), options, blank)
        features[records.IMAGE_NAME] = os.fsencode(os.path.basename(uri))
    return features


def _exception_text(cause: BaseException | None) -> str:
    """The type and text of an exception, without addresses: equal photos, equal lists."""
    return re.sub(r" at 0x[0-9a-f]+", "", f"{type(cause).__name__}: {cause}") if cause else ""


def _reads(uris: list[str | None]) -> Iterator[Callable[[], bytes]]:
    """For each photo a call that gives its content; what is in Cloud Storage is fetched ahead."""
    if not any(uri and files.is_remote(uri) for uri in uris):
        yield from (functools.partial(_read_photo, uri) for uri in uris)
        return
    with ThreadPoolExecutor(READ_AHEAD) as pool:
        fetched: deque[Future] = deque()
        for uri in uris:
            fetched.append(pool.submit(_read_photo, uri))
            if len(fetched) > READ_AHEAD:
                yield fetched.popleft().result
        while fetched:
            yield fetched.popleft().result


def _listed(uri: str, read: Callable[[], bytes], digest: str) -> bytes:
    """What `read` gives, once it is the content that was listed, where a digest tells.

    Raises:
        DataError: The photo is another one now: its split and label were chosen for the old one.
    """
    content = read()
    if digest and not files.has_digest(content, uri, digest):
        raise DataError(
            f"{uri} changed since it was listed", "The same command lists the photos anew."
        )
    return content


def _read_photo(uri: str) -> bytes:
    """The content of a photo.

    Raises:
        BadPhotoError: There is no such file, and never will be: the row is discarded.
        OSError: It could not be read this time: the shard is to be written again.
    """
    try:
        return files.read(uri)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadPhotoError("not found") from error
    except IsADirectoryError as error:
        raise BadPhotoError("a folder") from error
    except PermissionError as error:  # of this very file; the store's refusals are other errors
        raise BadPhotoError("no permission to read it") from error
    except DataError:  # no credentials
        raise
    except ValueError as error:  # a zero byte, or half a surrogate pair
        raise BadPhotoError("no possible path") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise BadPhotoError("no possible path") from error
        raise


class _Measured:
    """A stream that counts and hashes what is written to it."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.bytes = 0
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        self._stream.write(content)
        self.bytes += len(content)
        self.digest.update(content)
        return len(content)

    def flush(self) -> None:
        self._stream.flush()


class _Shard:
    """The open shard: records go in, the size and hash of the finished file come out."""

    def __init__(self, measured: _Measured, stream):
        self._measured = measured
        self.write = stream.write

    @property
    def bytes(self) -> int:
        return self._measured.bytes

    @property
    def digest(self):
        return self._measured.digest


@contextmanager
def _shard_file(path: str, compress: bool) -> Iterator[_Shard]:
    with files.replacing(path) as stream:
        measured = _Measured(stream)
        if not compress:
            yield _Shard(measured, measured)
            return
        # No name and no time in the gzip header: equal records make equal files.
        with gzip.GzipFile("", "wb", GZIP_LEVEL, measured, mtime=0) as zipped:
            yield _Shard(measured, zipped)
