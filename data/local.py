"""Conversion on this machine: all cores, resumable, and the folder appears whole or not at all.

The work happens in `<folder>.partial`, which is renamed once the manifest is in it. Under
`<folder>.partial/.work` lie the plan's digest and the report of each finished shard; a conversion
that was killed goes on from there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from data import files, manifest, pool
from data.errors import DataError
from data.metadata import write_metadata
from data.plan import Plan

PARTIAL = ".partial"
_WORK = ".work"


def convert_here(
    plan: Plan,
    folder: Path,
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
        DataError: The folder exists, another conversion is writing it, too many bad photos, no good
            TRAIN photo.
    """
    if folder.exists():
        if (
            resume
            and (whole := manifest.read_manifest(str(folder)))
            and whole["plan"] == plan.digest
        ):
            return whole
        raise DataError(
            f"{folder} exists already", "Remove it or name another folder; nothing is overwritten."
        )
    partial = folder.with_name(folder.name + PARTIAL)
    with _opened(partial, plan, resume):
        if not (partial / manifest.MANIFEST).exists():
            reports = _write_missing_shards(plan, partial, max_bad_fraction, workers, progress)
            write_metadata(plan, str(partial))
            finish(plan, reports, str(partial))
        shutil.rmtree(partial / _WORK)
        partial.rename(folder)
    return manifest.read_manifest(str(folder))


def finish(plan: Plan, reports: list[dict], folder: str) -> dict:
    """Writes the list of discards and, last, the manifest.

    Raises:
        DataError: No row of TRAIN became a record.
    """
    discarded = manifest.discarded_rows(plan, reports)
    made = manifest.make_manifest(plan, reports)
    if not made["counts"].get("train"):
        raise DataError(
            "No record for TRAIN: every TRAIN row was discarded",
            *describe_rows(discarded),
            discarded=discarded,
        )
    files.write(files.join(folder, manifest.DISCARDED), manifest.discarded_csv(discarded))
    files.write(files.join(folder, manifest.MANIFEST), manifest.dump(made))
    return made


def describe_rows(rows: list[dict], limit: int = 5) -> list[str]:
    """The first discards as lines of an error."""
    lines = [f"row {row['row']}: {row['path']!r}: {row['reason']}" for row in rows[:limit]]
    return lines + [f"and {len(rows) - limit} more"] * (len(rows) > limit)


def too_many(plan: Plan, bad: list[dict], allowed: float) -> DataError:
    """The error about more bad photos than allowed."""
    return DataError(
        f"Too many bad photos: {len(bad)} of {plan.rows} rows so far, "
        f"more than max_bad_fraction={allowed:g} allows",
        *describe_rows(bad),
        "Remove or repair them, or raise data.max_bad_fraction.",
        discarded=bad,
    )


@contextmanager
def _opened(partial: Path, plan: Plan, resume: bool) -> Iterator[None]:
    """Holds the working folder of this plan, fresh unless it can be resumed."""
    work = partial / _WORK
    work.mkdir(parents=True, exist_ok=True)
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"Another conversion is writing {partial}") from None
        digest = work / "plan"
        if not (resume and digest.exists() and digest.read_text() == plan.digest):
            _empty(partial, keep=work / "lock")
            files.write(str(digest), plan.digest.encode())
        try:
            yield
        except DataError:
            shutil.rmtree(partial)  # it would fail in the same way again
            raise


def _empty(partial: Path, keep: Path) -> None:
    for path in sorted(partial.rglob("*"), reverse=True):
        if path.is_dir() and path != keep.parent:
            path.rmdir()
        elif not path.is_dir() and path != keep:
            path.unlink()


def _write_missing_shards(
    plan: Plan,
    partial: Path,
    max_bad_fraction: float | None,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> list[dict]:
    total = sum(len(job["rows"]) for job in plan.shards)
    done, missing, reports = 0, [], []
    for job in plan.shards:
        if report := _finished_shard(partial, job):
            reports.append(report)
            done += len(job["rows"])
        else:
            missing.append(job)

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        if progress:
            progress(done, total)

    advance(0)
    bad = [row for report in reports for row in report["discarded"]]
    reports_now = pool.write_shards(missing, str(partial), workers=workers, progress=advance)
    for report in reports_now:
        files.write(str(_report(partial, report["file"])), json.dumps(report).encode())
        reports.append(report)
        bad += report["discarded"]
        if max_bad_fraction is not None and len(bad) > max_bad_fraction * plan.rows:
            reports_now.close()
            raise too_many(plan, bad, max_bad_fraction)
    return reports


def _finished_shard(partial: Path, job: dict) -> dict | None:
    """The report of a shard that an earlier attempt finished, if the file is still as it was."""
    shard, report = partial / job["file"], _report(partial, job["file"])
    if not (shard.exists() and report.exists()):
        return None
    report = json.loads(report.read_text())
    with shard.open("rb") as stream:
        digest = hashlib.sha256()
        while block := stream.read(1 << 20):
            digest.update(block)
    return report if digest.hexdigest() == report["sha256"] else None


def _report(partial: Path, file: str) -> Path:
    return partial / _WORK / f"{file}.json"


def fresh_folder(output_dir: str, name: str) -> str:
    """A folder name in `output_dir` that nobody has taken, and takes it.

    Two conversions may start in the same second: the working folder is made exclusively.
    """
    Path(output_dir).mkdir(parents=True, exist_ok=True)
    for attempt in range(10_000):
        folder = Path(output_dir, f"{name}-{attempt}" if attempt else name)
        if folder.exists():
            continue
        try:
            Path(f"{folder}{PARTIAL}").mkdir()
        except FileExistsError:
            continue
        return str(folder)
    raise DataError(f"No free name like {name} in {output_dir}")


def resumable_folder(output_dir: str, digest: str) -> str | None:
    """The newest unfinished conversion of the same plan in `output_dir`, if any."""
    found = [
        plan.parent.parent
        for plan in Path(output_dir).glob(f"*{PARTIAL}/{_WORK}/plan")
        if plan.read_text() == digest
    ]
    newest = max(found, default=None, key=lambda folder: folder.stat().st_mtime)
    return str(newest)[: -len(PARTIAL)] if newest else None
