"""Writes one shard, the unit of work on every runner. Light to import, for worker processes."""

from __future__ import annotations

import errno
import functools
import gzip
import hashlib
import json
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO

from data.conversion.plan import Cell, ShardJob, ShardReport
from data.errors import DataError, DiscardedRow
from data.record import records, tfrecord
from data.record.photos import BadPhotoError, EncodeOptions, photo_features
from data.storage import files

WORK = ".work"
"""Folder with the state of an unfinished conversion, inside the folder of records."""

GZIP_LEVEL = 1
"""For base64 pixels: half the time of zlib's default level, 9 % more bytes."""

READ_AHEAD = 8
"""Photos that a worker fetches ahead from Cloud Storage and keeps in memory."""


def write_shard_once(
    job: ShardJob, folder: str, progress: Callable[[int], None] | None = None
) -> ShardReport:
    """Writes a shard unless an earlier attempt finished it; saves its report in `WORK`."""
    if report := finished_shard(job, folder):
        return report
    report = write_shard(job, folder, progress)
    files.write(_report_path(job, folder), json.dumps(report).encode())
    return report


def finished_shard(job: ShardJob, folder: str) -> ShardReport | None:
    """Returns the saved report of a shard if the file exists and has the reported hash."""
    shard, path = files.join(folder, job["file"]), _report_path(job, folder)
    if not (files.exists(path) and files.exists(shard)):
        return None
    report: ShardReport = json.loads(files.read(path))
    return report if files.sha256(shard) == report["sha256"] else None


def _report_path(job: ShardJob, folder: str) -> str:
    return files.join(folder, WORK, f"{job['file']}.json")


def write_shard(
    job: ShardJob, folder: str, progress: Callable[[int], None] | None = None
) -> ShardReport:
    """Writes the records of a shard; bad photos are skipped and reported.

    Args:
        job: One of `data.conversion.plan.ConversionPlan.shards`.
        folder: Folder of the shard, local or a URI.
        progress: Called after each row with the number of rows done.

    Raises:
        DataError: A photo changed since `data.scan` listed it.
    """
    options = EncodeOptions(**job["options"])
    counts: Counter[str] = Counter()
    discarded: list[DiscardedRow] = []
    blank: list[tuple[str, str]] = []
    with _shard_file(files.join(folder, job["file"]), job["gzip"]) as (file, shard):
        readers = _readers([row[1] for row in job["rows"] if row[1] is not None])
        for done, (row, uri, label, values, digest) in enumerate(job["rows"], start=1):
            try:
                features = _column_features(dict(zip(job["columns"], values, strict=True)))
                if uri is not None:
                    on_blank = functools.partial(blank.append, (uri, label))
                    features |= photo_features(
                        _read_unchanged(uri, next(readers), digest), options, on_blank
                    )
                    features[records.IMAGE_NAME] = os.fsencode(os.path.basename(uri))
                tfrecord.write(shard, records.serialize(features))
                counts[label] += 1
            except BadPhotoError as error:
                discarded.append(
                    DiscardedRow(
                        path=uri or "",
                        row=row,
                        reason=str(error),
                        exception=_exception_text(error.__cause__),
                    )
                )
            except MemoryError as error:
                raise MemoryError(f"not enough memory for row {row}: {uri}") from error
            if progress:
                progress(done)
    return {
        "file": job["file"],
        "split": job["split"],
        "records": sum(counts.values()),
        "bytes": file.bytes,
        "sha256": file.digest.hexdigest(),
        "counts": dict(counts),
        "discarded": discarded,
        "blank": blank,
    }


def _column_features(columns: Mapping[str, Cell]) -> dict[str, records.Value]:
    return {
        name: os.fsencode(value) if isinstance(value, str) else value
        for name, value in columns.items()
    }


def _exception_text(cause: BaseException | None) -> str:
    """Formats type and text of an exception; without addresses, which differ between runs."""
    return re.sub(r" at 0x[0-9a-f]+", "", f"{type(cause).__name__}: {cause}") if cause else ""


def _readers(uris: list[str]) -> Iterator[Callable[[], bytes]]:
    """Yields for each photo a function that reads it; fetches ahead from Cloud Storage."""
    if not any(map(files.is_remote, uris)):
        yield from (functools.partial(_read_photo, uri) for uri in uris)
        return
    with ThreadPoolExecutor(READ_AHEAD) as pool:
        fetched: deque[Future[bytes]] = deque()
        for uri in uris:
            fetched.append(pool.submit(_read_photo, uri))
            if len(fetched) > READ_AHEAD:
                yield fetched.popleft().result
        while fetched:
            yield fetched.popleft().result


def _read_unchanged(uri: str, read: Callable[[], bytes], digest: str) -> bytes:
    """Reads a photo; checks that its content still has the digest, unless this is empty.

    Raises:
        DataError: The photo has changed; its split was chosen for the old content.
    """
    content = read()
    if digest and not files.has_digest(content, uri, digest):
        raise DataError(
            f"{uri} changed since it was listed", "Run the same command again to list it anew."
        )
    return content


def _read_photo(uri: str) -> bytes:
    """Reads the content of a photo.

    Raises:
        BadPhotoError: A permanent error such as a missing file; the row is discarded.
        OSError: A temporary error; the shard has to be written again.
    """
    try:
        return files.read(uri)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadPhotoError("not found") from error
    except IsADirectoryError as error:
        raise BadPhotoError("a folder") from error
    except PermissionError as error:  # of a local file; the store raises other errors
        raise BadPhotoError("no permission to read it") from error
    except DataError:  # a ValueError: no credentials
        raise
    except ValueError as error:  # a zero byte or an unpaired surrogate
        raise BadPhotoError("no possible path") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise BadPhotoError("no possible path") from error
        raise


class _HashingStream:
    """A stream that counts and hashes the bytes written to it."""

    def __init__(self, stream: IO[bytes]):
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


@contextmanager
def _shard_file(path: str, compress: bool) -> Iterator[tuple[_HashingStream, tfrecord.ByteWriter]]:
    """Opens a shard: yields the stream of the file, and the stream to write records to."""
    with files.replacing(path) as stream:
        file = _HashingStream(stream)
        if not compress:
            yield file, file
            return
        # Equal records give equal files: the gzip header has neither a name nor a time.
        with gzip.GzipFile("", "wb", GZIP_LEVEL, file, mtime=0) as zipped:
            yield file, zipped
