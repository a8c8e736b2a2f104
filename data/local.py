"""Conversion on this machine: all cores, resumable, and the folder appears whole or not at all.

A local folder is made as `<folder>.partial` and renamed once its manifest is in it. In Cloud
Storage, where nothing can be renamed at once, the work is done in place, and the notes in it tell
readers that it is not finished.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from data import files, pool, work
from data.errors import DataError
from data.manifest import read_manifest
from data.plan import Plan
from data.shard import WORK

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
        DataError: The folder exists, another conversion is writing it, it cannot be written, too
            many bad photos, no good TRAIN photo.
    """
    if manifest := finished_before(plan, folder, resume):
        return manifest
    hold = _at_work_remote if files.is_remote(folder) else at_work
    try:
        with hold(folder, plan, resume) as place:
            reports, bad = [], []
            for report in _reports(plan, place, workers, progress):
                reports.append(report)
                bad += report["discarded"]
                work.check_bad(plan, bad, max_bad_fraction)
            return work.finish(plan, reports, place, max_bad_fraction)
    except OSError as error:
        raise DataError(
            f"Cannot write {folder}",
            str(error),
            "What is done so far is kept: make room or give access, then convert with resume=True.",
        ) from error


def finished_before(plan: Plan, folder: str, resume: bool) -> dict | None:
    """The manifest of a folder that an earlier conversion of the same plan finished.

    Raises:
        DataError: The folder holds something else.
    """
    if files.is_remote(folder):
        unfinished = work.started(folder)
        if unfinished is not None and resume and unfinished.digest == plan.digest:
            return None
    elif resume and _is_whole(folder + PARTIAL, plan.digest):  # killed just before it was renamed
        _publish(folder)
    if not files.exists(folder):
        return None
    manifest = read_manifest(folder)
    if resume and manifest and manifest["plan"] == plan.digest:
        return manifest
    raise DataError(
        f"{folder} exists already" + (", with other rows or options" if manifest else ""),
        "Remove it or name another folder; nothing is overwritten.",
    )


def fresh_folder(output_dir: str, name: str) -> str:
    """A folder name in `output_dir` that nobody has taken, and takes it.

    Two conversions may start in the same second: the working folder is made exclusively.
    """
    if files.is_remote(output_dir):
        return _first_free(files.join(output_dir, name), files.exists)
    try:
        Path(output_dir).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"Cannot make the folder {output_dir}", str(error)) from error

    def taken(folder: str) -> bool:
        try:
            Path(folder + PARTIAL).mkdir()
        except FileExistsError:
            return True
        if Path(folder).exists():
            Path(folder + PARTIAL).rmdir()
            return True
        return False

    return _first_free(files.join(output_dir, name), taken)


def resumable_folder(output_dir: str, digest: str) -> str | None:
    """The newest unfinished conversion of the same plan in a local `output_dir`, if any."""
    if files.is_remote(output_dir) or not Path(output_dir).is_dir():
        return None
    found = [folder for folder in Path(output_dir).iterdir() if folder.name.endswith(PARTIAL)]
    for folder in sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True):
        plan = work.started(str(folder))
        if (plan and plan.digest == digest) or _is_whole(str(folder), digest):
            return str(folder)[: -len(PARTIAL)]
    return None


def _is_whole(folder: str, digest: str) -> bool:
    manifest = read_manifest(folder)
    return manifest is not None and manifest["plan"] == digest


def _publish(folder: str) -> None:
    """Gives a whole folder its name, without what only served the work."""
    partial = Path(folder + PARTIAL)
    shutil.rmtree(partial / WORK, ignore_errors=True)
    (partial / _LOCK).unlink(missing_ok=True)
    partial.rename(folder)


def _reports(plan: Plan, folder: str, workers: int | None, progress) -> Iterator[dict]:
    total = sum(len(job["rows"]) for job in plan.shards)
    done = 0

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        if progress:
            progress(done, total)

    advance(0)
    yield from pool.write_shards(plan.shards, folder, workers=workers, progress=advance)


@contextmanager
def at_work(folder: str, plan: Plan, resume: bool) -> Iterator[str]:
    """The working folder of this plan, fresh unless it can be resumed; renamed at the end."""
    partial = Path(folder + PARTIAL)
    partial.mkdir(parents=True, exist_ok=True)
    with (partial / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"Another conversion is writing {folder}") from None
        before = work.started(str(partial))
        if not (resume and before and before.digest == plan.digest):
            for path in partial.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != _LOCK:
                    path.unlink()
            work.start(plan, str(partial))
        try:
            yield str(partial)
        except DataError:
            shutil.rmtree(partial)  # it would fail in the same way again
            raise
        _publish(folder)


@contextmanager
def _at_work_remote(folder: str, plan: Plan, resume: bool) -> Iterator[str]:
    """The same in Cloud Storage, in place."""
    if not (resume and work.started(folder)):
        work.start(plan, folder)
    try:
        yield folder
    except DataError:
        files.delete_folder(folder)
        raise


def _first_free(folder: str, taken: Callable[[str], bool]) -> str:
    for attempt in range(10_000):
        name = f"{folder}-{attempt}" if attempt else folder
        if not taken(name):
            return name
    raise DataError(f"No free name like {folder}")
