"""Conversion on the cores of this machine, resumable.

A local folder is written as `<folder>.partial` and renamed once it has its manifest, so it appears
atomically. Cloud Storage has no atomic rename: there, the folder is written in place
(`data.conversion.in_place`).
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.conversion import in_place, journal, pool
from data.conversion.manifest import Manifest, read_manifest
from data.conversion.naming import first_free
from data.conversion.plan import ConversionPlan, ShardReport
from data.conversion.progress import Progress
from data.conversion.shard import WORK
from data.errors import DataError, DiscardedRow
from data.storage import files

PARTIAL = ".partial"
_LOCK = "lock"


def convert_locally(
    plan: ConversionPlan,
    folder: str,
    *,
    resume: bool = False,
    max_bad_fraction: float | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Executes a plan with worker processes.

    Args:
        plan: The work to do.
        folder: The folder to create; it must not exist, unless `resume` is set and the same plan is
            finished there.
        resume: Keep the shards that a killed conversion of the same plan finished.
        max_bad_fraction: Stop when more than this share of the rows is bad.
        workers: Number of processes; None for one per core.
        progress: Called with the number of rows done and the total.

    Returns:
        The manifest.

    Raises:
        DataError: The folder exists, another conversion is writing it, a file cannot be read or
            written, too many photos are bad, or no TRAIN photo is good.
    """
    remote = files.is_remote(folder)
    if not (remote and resume and journal.is_resumable(plan, folder)):
        if resume and not remote:
            _publish_complete(folder, plan.digest)
        if manifest := journal.finished_manifest(plan, folder, resume):
            return manifest
    open_folder = in_place.working_folder if remote else working_folder
    try:
        with open_folder(folder, plan, resume) as work:
            reports: list[ShardReport] = []
            bad: list[DiscardedRow] = []
            for report in _reports(plan, work, workers, progress):
                reports.append(report)
                bad += report["discarded"]
                journal.check_bad_fraction(plan, bad, max_bad_fraction)
            return journal.finish(plan, reports, work, max_bad_fraction)
    except OSError as error:
        raise DataError(
            f"{folder} could not be finished",
            str(error),
            "Finished shards are kept: resolve the error (disk space, access, memory), then "
            "convert the same photos with resume=True.",
        ) from error


def fresh_folder(name: str) -> str:
    """Reserves the first free name like `name` for a new local folder; returns it.

    The working folder is created exclusively, as two conversions may start in the same second.
    """

    def taken(folder: str) -> bool:
        try:
            Path(folder + PARTIAL).mkdir()
        except FileExistsError:
            return True
        if Path(folder).exists():
            Path(folder + PARTIAL).rmdir()
            return True
        return False

    try:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        return first_free(name, taken)
    except OSError as error:
        raise DataError(f"Cannot create the folder {name}", str(error)) from error


def resumable_folder(output_dir: str, digest: str) -> str | None:
    """Returns the newest unfinished folder of the same plan in a local `output_dir`, else None."""
    if not Path(output_dir).is_dir():
        return None
    found = [folder for folder in Path(output_dir).iterdir() if folder.name.endswith(PARTIAL)]
    for folder in sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True):
        name = str(folder)[: -len(PARTIAL)]
        plan = journal.unfinished_plan(str(folder))
        unfinished = (plan and plan.digest == digest) or _is_complete(str(folder), digest)
        if unfinished and not Path(name).exists():
            return name
    return None


@contextmanager
def working_folder(folder: str, plan: ConversionPlan, resume: bool) -> Iterator[str]:
    """Locks `<folder>.partial`, empties it unless it can be resumed; renames it at the end.

    Yields:
        The working folder.

    Raises:
        DataError: Another conversion has locked it.
    """
    partial = Path(folder + PARTIAL)
    partial.mkdir(parents=True, exist_ok=True)
    with (partial / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"Another conversion is writing {folder}", "Wait until it has ended."
            ) from None
        if resume and journal.is_resumable(plan, str(partial)):
            files.delete_scratch(str(partial))
        else:
            for path in partial.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != _LOCK:
                    path.unlink()
            journal.start(plan, str(partial))
        try:
            yield str(partial)
        except journal.NoTrainError:
            shutil.rmtree(partial)
            raise
        _publish(folder)


def _reports(
    plan: ConversionPlan, folder: str, workers: int | None, progress: Progress | None
) -> Iterator[ShardReport]:
    """Yields the report of every shard, first those that an earlier attempt finished."""
    done = 0

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        if progress:
            progress(done, total)

    rows = {job["file"]: len(job["rows"]) for job in plan.shards}
    total = sum(rows.values())
    finished = journal.finished_shards(plan, folder)
    advance(sum(rows[report["file"]] for report in finished))
    yield from finished
    left = rows.keys() - {report["file"] for report in finished}
    jobs = [job for job in plan.shards if job["file"] in left]
    yield from pool.write_shards(jobs, folder, workers=workers, progress=advance)


def _publish_complete(folder: str, digest: str) -> None:
    """Renames a folder whose conversion was killed just before the rename."""
    if not Path(folder).exists() and _is_complete(folder + PARTIAL, digest):
        _publish(folder)


def _is_complete(folder: str, digest: str) -> bool:
    manifest = read_manifest(folder)
    return manifest is not None and manifest["plan"] == digest


def _publish(folder: str) -> None:
    """Removes the temporary files of a complete folder and renames it."""
    partial = Path(folder + PARTIAL)
    shutil.rmtree(partial / WORK, ignore_errors=True)
    files.delete_scratch(str(partial))
    (partial / _LOCK).unlink(missing_ok=True)
    partial.rename(folder)
