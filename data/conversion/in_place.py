"""Work in the very folder that is made: in Cloud Storage, and by Beam runners.

A folder cannot be renamed at once there. Its journal (`data.conversion.journal`) tells readers that
it is not finished. The plan in it is written only where there is none: that claims the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.conversion import journal
from data.conversion.naming import first_free
from data.conversion.plan import Plan
from data.errors import DataError
from data.storage import files, gs


def claim(plan: Plan, folder: str) -> str:
    """Notes the plan in the first folder named like this that nobody has; returns the folder."""

    def taken(name: str) -> bool:
        if files.exists(name):
            return True
        try:
            journal.start(plan, name, new=True)
        except FileExistsError:
            return True
        return False

    return first_free(folder, taken)


def start(plan: Plan, folder: str) -> None:
    """Notes the plan in a folder that is not there yet.

    Raises:
        DataError: Another conversion did so at the same moment.
    """
    try:
        journal.start(plan, folder, new=True)
    except FileExistsError:
        raise DataError(f"Another conversion is writing {folder}") from None


@contextmanager
def claimed(folder: str, plan: Plan, resume: bool) -> Iterator[str]:
    """The folder itself, claimed unless it can be resumed."""
    if not (resume and journal.is_of(plan, folder)):
        start(plan, folder)
    try:
        yield folder
    except journal.NoTrainError:
        journal.discard(plan, folder)
        raise


def resumable_folder(output_dir: str, digest: str) -> str | None:
    """The newest unfinished conversion of the same plan in `output_dir`, by its name, if any."""
    note = f"/{journal.PLAN_NOTE}"
    if files.is_remote(output_dir):
        found = [name for name, _, _ in gs.entries(output_dir)]
        names = [name.removesuffix(note) for name in found if name.endswith(note)]
    else:
        names = [path.name for path in Path(output_dir).glob("*") if Path(f"{path}{note}").exists()]
    for name in sorted(names, reverse=True):
        folder = files.join(output_dir, name)
        plan = journal.started(folder)
        if plan and plan.digest == digest:
            return folder
    return None
