"""The notes of a conversion at work, in `.work/` of its folder: they make it resumable.

`.work/plan.json` tells what is being converted; `.work/<shard>.json` is the report of a finished
shard. A folder that has them is unfinished: the last step writes the manifest and removes them.
"""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from data.conversion.manifest import (
    DISCARDED,
    MANIFEST,
    discarded_csv,
    discarded_rows,
    dump,
    make_manifest,
    read_manifest,
)
from data.conversion.plan import Plan
from data.conversion.shard import WORK, finished_shard
from data.conversion.transform_metadata import write_metadata
from data.errors import DataError, listing
from data.record.records import SPLITS
from data.storage import files, gs

LOG = logging.getLogger("pawprint.data")

PLAN_NOTE = f"{WORK}/plan.json"


class NoTrainError(DataError):
    """Every TRAIN row was discarded: the same conversion would only fail again."""


def start(plan: Plan, folder: str, *, new: bool = False) -> None:
    """Notes what is being converted.

    Raises:
        FileExistsError: It was to be `new` and the folder has such a note.
    """
    write = files.create if new else files.write
    write(files.join(folder, PLAN_NOTE), dump(asdict(plan.without_shards())))


def started(folder: str) -> Plan | None:
    """The plan (without its shards) of an unfinished conversion; None where there is none.

    A note that another version of this code wrote counts as none.
    """
    path = files.join(folder, PLAN_NOTE)
    if not files.exists(path):
        return None
    try:
        return Plan(**json.loads(files.read(path)))
    except (TypeError, ValueError):
        return None


def is_of(plan: Plan, folder: str) -> bool:
    """Whether an unfinished conversion of the same plan lies there."""
    before = started(folder)
    return before is not None and before.digest == plan.digest


def finished_before(plan: Plan, folder: str, resume: bool) -> dict | None:
    """The manifest of a folder that an earlier conversion of the same plan finished.

    Raises:
        DataError: The folder holds something else.
    """
    if not files.exists(folder):
        return None
    manifest = read_manifest(folder)
    if resume and manifest and manifest["plan"] == plan.digest:
        return manifest
    if manifest:
        what = "records of other rows, photos or options" if resume else "records"
    else:
        what = "an unfinished conversion" if started(folder) else "something else"
    raise DataError(
        f"{folder} exists already, with {what}",
        "Remove it, or name another folder: nothing is overwritten. resume=True resumes an "
        "unfinished conversion of the same rows, photos and options.",
    )


def finished_shards(plan: Plan, folder: str) -> list[dict]:
    """The reports of the shards that an earlier attempt at the plan finished."""
    noted = files.sizes(files.join(folder, WORK))
    jobs = [job for job in plan.shards if f"{job['file']}.json" in noted]
    with ThreadPoolExecutor(gs.CONNECTIONS) as pool:
        reports = pool.map(lambda job: finished_shard(job, folder), jobs)
        return [report for report in reports if report]


def discard(plan: Plan, folder: str) -> None:
    """Deletes what an unfinished conversion wrote, and nothing else."""
    for job in plan.shards:
        files.delete(files.join(folder, job["file"]))
    files.delete_folder(files.join(folder, WORK))
    if not files.is_remote(folder):
        with suppress(OSError):  # it holds something of somebody's
            Path(folder).rmdir()


def finish(
    plan: Plan, reports: list[dict], folder: str, max_bad_fraction: float | None = None
) -> dict:
    """Writes what stands beside the shards, the manifest last, and removes the notes.

    Returns:
        The manifest.

    Raises:
        DataError: Too many bad rows, or none of TRAIN became a record.
    """
    discarded = discarded_rows(plan, reports)
    check_bad(plan, [row for report in reports for row in report["discarded"]], max_bad_fraction)
    manifest = make_manifest(plan, reports)
    train = manifest["counts"].get(SPLITS[0].lower(), {})
    if not train:
        raise NoTrainError(
            "No record for TRAIN: every TRAIN row was discarded",
            *describe_rows(discarded),
            discarded=discarded,
        )
    if untrained := [label for label in manifest["labels"] if not train.get(label)]:
        LOG.warning("labels without a good photo in TRAIN: %s", listing(untrained))
    if blank := [photo for report in reports for photo in report.get("blank", ())]:
        LOG.warning(
            "%d photos are all but black or white: %s",
            len(blank),
            listing(f"{path} ({label})" for path, label in blank),
        )
    write_metadata(plan, folder)
    files.write(files.join(folder, DISCARDED), discarded_csv(discarded))
    files.delete_scratch(folder)
    files.write(files.join(folder, MANIFEST), dump(manifest))
    files.delete_folder(files.join(folder, WORK))
    return manifest


def check_bad(plan: Plan, bad: list[dict], allowed: float | None) -> None:
    """Refuses more bad rows than allowed.

    Raises:
        DataError: With the rows in `discarded`.
    """
    if allowed is None or len(bad) / plan.rows <= allowed:
        return
    raise DataError(
        f"Too many bad photos: {len(bad)} of {plan.rows} rows so far, "
        f"more than max_bad_fraction={allowed:g} allows",
        *describe_rows(bad),
        "Remove or repair them; or raise max_bad_fraction and resume: what is done is kept.",
        discarded=bad,
    )


def describe_rows(rows: list[dict], limit: int = 5) -> list[str]:
    """The first discards as lines of an error."""
    lines = [f"row {row['row']}: {row['path']!r}: {row['reason']}" for row in rows[:limit]]
    return lines + [f"and {len(rows) - limit} more"] * (len(rows) > limit)


def refuse_unfinished(folder: str) -> None:
    """Refuses to read a folder whose conversion did not end.

    Raises:
        DataError: The notes are still there and no manifest.
    """
    if read_manifest(folder) is None and files.exists(files.join(folder, WORK)):
        raise DataError(
            f"{folder} is an unfinished conversion",
            "Finish it: convert the same with resume=True. A job of Dataflow finishes by itself.",
        )
