"""Conversion in the final folder: in Cloud Storage, and by Beam runners.

These cannot rename a folder atomically. The journal (`data.conversion.journal`) marks the folder as
unfinished for readers. Its plan file is created exclusively, which reserves the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.conversion import journal
from data.conversion.naming import first_free
from data.conversion.plan import ConversionPlan
from data.errors import DataError
from data.storage import files, gs


def fresh_folder(plan: ConversionPlan, name: str) -> str:
    """Writes the plan to a new folder with the first free name like `name`; returns the folder."""

    def taken(folder: str) -> bool:
        if files.exists(folder):
            return True
        try:
            journal.start(plan, folder, new=True)
        except FileExistsError:
            return True
        return False

    return first_free(name, taken)


def start(plan: ConversionPlan, folder: str) -> None:
    """Writes the plan to a new folder.

    Raises:
        DataError: Another conversion has started there at the same moment.
    """
    try:
        journal.start(plan, folder, new=True)
    except FileExistsError:
        raise DataError(
            f"Another conversion is writing {folder}", "Wait until it has ended."
        ) from None


@contextmanager
def working_folder(folder: str, plan: ConversionPlan, resume: bool) -> Iterator[str]:
    """Starts the plan in the folder itself unless it can be resumed; yields the folder."""
    if not (resume and journal.is_resumable(plan, folder)):
        start(plan, folder)
    try:
        yield folder
    except journal.NoTrainError:
        journal.discard(plan, folder)
        raise


def resumable_folder(output_dir: str, digest: str) -> str | None:
    """Returns the unfinished folder of the same plan in `output_dir`, newest by name, else None."""
    suffix = f"/{journal.PLAN_FILE}"
    if files.is_remote(output_dir):
        found = [name for name, _, _ in gs.entries(output_dir)]
        names = [name.removesuffix(suffix) for name in found if name.endswith(suffix)]
    else:
        folders = Path(output_dir).glob("*")
        names = [path.name for path in folders if Path(f"{path}{suffix}").exists()]
    for name in sorted(names, reverse=True):
        folder = files.join(output_dir, name)
        plan = journal.unfinished_plan(folder)
        if plan and plan.digest == digest:
            return folder
    return None
