"""Conversion on this machine: all cores, resumable.

A local folder is made as `<folder>.partial` and renamed once its manifest is in it: it appears
whole or not at all. In Cloud Storage, where nothing can be renamed at once, the work is done in
place (`data.conversion.in_place`).
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from data.conversion import in_place, journal, pool
from data.conversion.manifest import read_manifest
from data.conversion.naming import first_free
from data.conversion.plan import Plan
from data.conversion.shard import WORK
from data.errors import DataError
from data.storage import files

PARTIAL = ".partial"
_LOCK = "lock"


def convert_here(
    plan: Plan,
    folder: str,
    *,
    resume: bool = False,
    max_bad_fraction: float | None = None,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict:
    """Carries out a plan with worker processes.

    Args:
        plan: What to do.
        folder: The folder to make; it must not exist, unless `resume` finds it finished.
        resume: Keep the shards that a killed conversion of the same plan finished.
        max_bad_fraction: Give up once more than this share of the rows is refused.
        workers: Processes; None takes one a core.
        progress: Called with rows done and rows in all.

    Returns:
        The manifest.

    Raises:
        DataError: The folder exists, another conversion is writing it, something cannot be read or
            written, too many bad photos, no good TRAIN photo.
    """
    remote = files.is_remote(folder)
    if not (remote and resume and journal.is_of(plan, folder)):
        if resume and not remote:
            _publish_whole(folder, plan.digest)
        if manifest := journal.finished_before(plan, folder, resume):
            return manifest
    hold = in_place.claimed if remote else claimed
    try:
        with hold(folder, plan, resume) as place:
            reports, bad = [], []
            for report in _reports(plan, place, workers, progress):
                reports.append(report)
                bad += report["discarded"]
                journal.check_bad(plan, bad, max_bad_fraction)
            return journal.finish(plan, reports, place, max_bad_fraction)
    except OSError as error:
        raise DataError(
            f"{folder} could not be finished",
            str(error),
            "What is done is kept: once that is mended (room, access, memory), convert the same "
            "with resume=True.",
        ) from error


def fresh_folder(name: str) -> str:
    """The first local folder named like this that nobody has, and takes it.

    Two conversions may start in the same second: the working folder is made exclusively.
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
        raise DataError(f"Cannot make the folder {name}", str(error)) from error


def resumable_folder(output_dir: str, digest: str) -> str | None:
    """The newest unfinished conversion of the same plan in a local `output_dir`, if any."""
    if not Path(output_dir).is_dir():
        return None
    found = [folder for folder in Path(output_dir).iterdir() if folder.name.endswith(PARTIAL)]
    for folder in sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True):
        name = str(folder)[: -len(PARTIAL)]
        plan = journal.started(str(folder))
        unfinished = (plan and plan.digest == digest) or _is_whole(str(folder), digest)
        if unfinished and not Path(name).exists():
            return name
    return None


@contextmanager
def claimed(folder: str, plan: Plan, resume: bool) -> Iterator[str]:
    """The working folder of this plan, fresh unless it can be resumed; renamed at the end."""
    partial = Path(folder + PARTIAL)
    partial.mkdir(parents=True, exist_ok=True)
    with (partial / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"Another conversion is writing {folder}") from None
        if resume and journal.is_of(plan, str(partial)):
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


def _reports(plan: Plan, folder: str, workers: int | None, progress) -> Iterator[dict]:
    """The report of every shard: first of those that an earlier attempt finished."""
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


def _publish_whole(folder: str, digest: str) -> None:
    """Names a folder whose conversion was killed just before that."""
    if not Path(folder).exists() and _is_whole(folder + PARTIAL, digest):
        _publish(folder)


def _is_whole(folder: str, digest: str) -> bool:
    manifest = read_manifest(folder)
    return manifest is not None and manifest["plan"] == digest


def _publish(folder: str) -> None:
    """Gives a whole folder its name, without what only served the work."""
    partial = Path(folder + PARTIAL)
    shutil.rmtree(partial / WORK, ignore_errors=True)
    files.delete_scratch(str(partial))
    (partial / _LOCK).unlink(missing_ok=True)
    partial.rename(folder)
