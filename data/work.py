"""The notes of a conversion at work, in `.work/` of its folder: they make it resumable.

`.work/plan.json` tells what is being converted; `.work/<shard>.json` is the report of a finished
shard. A folder that has them is unfinished: the last step writes the manifest and removes them.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict

from data import files
from data.errors import DataError
from data.manifest import (
    DISCARDED,
    MANIFEST,
    discarded_csv,
    discarded_rows,
    dump,
    make_manifest,
    read_manifest,
)
from data.metadata import write_metadata
from data.plan import Plan
from data.records import SPLITS
from data.shard import WORK

LOG = logging.getLogger("pawprint.data")

_PLAN = "plan.json"


def start(plan: Plan, folder: str) -> None:
    """Notes what is being converted."""
    files.write(files.join(folder, WORK, _PLAN), dump(asdict(plan.without_shards())))


def started(folder: str) -> Plan | None:
    """The plan (without its shards) of an unfinished conversion; None where there is none."""
    path = files.join(folder, WORK, _PLAN)
    return Plan(**json.loads(files.read(path))) if files.exists(path) else None


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
        raise DataError(
            "No record for TRAIN: every TRAIN row was discarded",
            *describe_rows(discarded),
            discarded=discarded,
        )
    if untrained := [label for label in manifest["labels"] if not train.get(label)]:
        LOG.warning("labels without a good photo in TRAIN: %s", ", ".join(untrained))
    write_metadata(plan, folder)
    files.write(files.join(folder, DISCARDED), discarded_csv(discarded))
    files.write(files.join(folder, MANIFEST), dump(manifest))
    files.delete_folder(files.join(folder, WORK))
    return manifest


def check_bad(plan: Plan, bad: list[dict], allowed: float | None) -> None:
    """Refuses more bad rows than allowed.

    Raises:
        DataError: With the rows in `discarded`.
    """
    if allowed is None or len(bad) <= allowed * plan.rows:
        return
    raise DataError(
        f"Too many bad photos: {len(bad)} of {plan.rows} rows so far, "
        f"more than max_bad_fraction={allowed:g} allows",
        *describe_rows(bad),
        "Remove or repair them, or raise data.max_bad_fraction.",
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
            f"{folder} is an unfinished conversion", "Finish it with convert(..., resume=True)."
        )
