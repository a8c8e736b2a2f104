"""The journal of a running conversion, in `.work/` of its folder, which makes it resumable.

`.work/plan.json` is the plan, `.work/<shard>.json` the report of a finished shard. A folder with a
journal is unfinished: the last step writes the manifest and deletes the journal.
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
    Manifest,
    discarded_csv,
    discarded_rows,
    dump,
    make_manifest,
    read_manifest,
)
from data.conversion.plan import ConversionPlan, ShardReport
from data.conversion.shard import WORK, finished_shard
from data.conversion.transform_metadata import write_metadata
from data.errors import DataError, DiscardedRow, listing
from data.record.records import SPLITS
from data.storage import files, gs

LOG = logging.getLogger("pawprint.data")

PLAN_FILE = f"{WORK}/plan.json"


class NoTrainError(DataError):
    """Every TRAIN row was discarded; the same conversion would fail again."""


def start(plan: ConversionPlan, folder: str, *, new: bool = False) -> None:
    """Starts the journal of a conversion.

    Raises:
        FileExistsError: `new` is set and the folder has a journal.
    """
    write = files.create if new else files.write
    write(files.join(folder, PLAN_FILE), dump(asdict(plan.without_shards())))


def unfinished_plan(folder: str) -> ConversionPlan | None:
    """Reads the plan, without its shards, of an unfinished conversion.

    Returns:
        The plan; None without one, or if another version of this code has written it.
    """
    path = files.join(folder, PLAN_FILE)
    if not files.exists(path):
        return None
    try:
        return ConversionPlan(**json.loads(files.read(path)))
    except (TypeError, ValueError):
        return None


def is_resumable(plan: ConversionPlan, folder: str) -> bool:
    """Whether the folder holds an unfinished conversion of the same plan."""
    unfinished = unfinished_plan(folder)
    return unfinished is not None and unfinished.digest == plan.digest


def finished_manifest(plan: ConversionPlan, folder: str, resume: bool) -> Manifest | None:
    """Reads the manifest of a finished conversion of the same plan.

    Returns:
        The manifest; None if the folder does not exist.

    Raises:
        DataError: The folder holds something else, or `resume` is not set.
    """
    if not files.exists(folder):
        return None
    manifest = read_manifest(folder)
    if resume and manifest and manifest["plan"] == plan.digest:
        return manifest
    if manifest:
        what = "records of other rows, photos or options" if resume else "records"
    else:
        what = "an unfinished conversion" if unfinished_plan(folder) else "something else"
    raise DataError(
        f"{folder} exists already, with {what}",
        "Remove it or name another folder; nothing is overwritten. Set resume=True to resume an "
        "unfinished conversion of the same rows, photos and options.",
    )


def finished_shards(plan: ConversionPlan, folder: str) -> list[ShardReport]:
    """Returns the reports of the shards that an earlier attempt at the plan finished."""
    reported = files.sizes(files.join(folder, WORK))
    jobs = [job for job in plan.shards if f"{job['file']}.json" in reported]
    with ThreadPoolExecutor(gs.CONNECTIONS) as pool:
        reports = pool.map(lambda job: finished_shard(job, folder), jobs)
        return [report for report in reports if report]


def discard(plan: ConversionPlan, folder: str) -> None:
    """Deletes the files of an unfinished conversion, and nothing else."""
    for job in plan.shards:
        files.delete(files.join(folder, job["file"]))
    files.delete_folder(files.join(folder, WORK))
    if not files.is_remote(folder):
        with suppress(OSError):  # it holds other files
            Path(folder).rmdir()


def finish(
    plan: ConversionPlan,
    reports: list[ShardReport],
    folder: str,
    max_bad_fraction: float | None = None,
) -> Manifest:
    """Writes the files beside the shards, the manifest last, and deletes the journal.

    Returns:
        The manifest.

    Raises:
        DataError: Too many rows are bad, or no TRAIN row became a record.
    """
    discarded = discarded_rows(plan, reports)
    bad = [row for report in reports for row in report["discarded"]]
    check_bad_fraction(plan, bad, max_bad_fraction)
    manifest = make_manifest(plan, reports)
    train = manifest["counts"].get(SPLITS[0].lower(), {})
    if not train:
        raise NoTrainError(
            "No records for TRAIN: every TRAIN row was discarded",
            *describe_rows(discarded),
            discarded=discarded,
        )
    if untrained := [label for label in manifest["labels"] if not train.get(label)]:
        LOG.warning("labels without a good photo in TRAIN: %s", listing(untrained))
    if blank := [photo for report in reports for photo in report.get("blank", ())]:
        LOG.warning(
            "%d photos are nearly all black or white: %s",
            len(blank),
            listing(f"{path} ({label})" for path, label in blank),
        )
    write_metadata(plan, folder)
    files.write(files.join(folder, DISCARDED), discarded_csv(discarded))
    files.delete_scratch(folder)
    files.write(files.join(folder, MANIFEST), dump(manifest))
    files.delete_folder(files.join(folder, WORK))
    return manifest


def check_bad_fraction(
    plan: ConversionPlan, bad: list[DiscardedRow], max_bad_fraction: float | None
) -> None:
    """Refuses more bad rows than allowed.

    Raises:
        DataError: Too many rows are bad; its attribute `discarded` has them.
    """
    if max_bad_fraction is None or len(bad) / plan.rows <= max_bad_fraction:
        return
    raise DataError(
        f"Too many bad photos: {len(bad)} of {plan.rows} rows so far, "
        f"more than max_bad_fraction={max_bad_fraction:g} allows",
        *describe_rows(bad),
        "Remove or repair them; or raise max_bad_fraction and resume. Finished shards are kept.",
        discarded=bad,
    )


def describe_rows(rows: list[DiscardedRow], limit: int = 5) -> list[str]:
    """Formats the first discarded rows as lines of an error."""
    lines = [f"row {row['row']}: {row['path']!r}: {row['reason']}" for row in rows[:limit]]
    return lines + [f"and {len(rows) - limit} more"] * (len(rows) > limit)


def refuse_unfinished(folder: str) -> None:
    """Refuses to read the folder of an unfinished conversion.

    Raises:
        DataError: The folder has a journal and no manifest.
    """
    if read_manifest(folder) is None and files.exists(files.join(folder, WORK)):
        raise DataError(
            f"{folder} is an unfinished conversion",
            "Convert the same photos with resume=True to finish it, or wait for its Dataflow job.",
        )
