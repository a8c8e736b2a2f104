"""Mirrors the metadata store at the end of a run, in a child process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.artifacts.names import METADATA_FILE
from pipeline.lineage import catch_up

if TYPE_CHECKING:
    from pipeline.config.schema import Config

_GRACE_S = 5
"""Seconds after which the child is killed if it did not enforce the deadline itself."""


def mirror_after_run(config: Config, log: Path) -> str:
    """Mirrors the metadata store of a run. Never raises.

    Args:
        config: `wandb` selects the project, `lineage` the deadline.
        log: File for the output of libraries.

    Returns:
        One line for the user.
    """
    metadata = Path(config.root).resolve() / METADATA_FILE
    command = catch_up.mirror_command(str(metadata), config.wandb.project, config.wandb.entity)
    hint = catch_up.hint(command)
    if config.wandb.mode == "offline":
        return f"not mirrored: wandb.mode is offline; {hint}"
    seconds = config.lineage.deadline_s
    try:
        with log.open("a") as errors:
            done = subprocess.run(
                [sys.executable, *command, "--deadline", f"{seconds:g}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=Path(__file__).resolve().parents[2],
                timeout=seconds + _GRACE_S,
                text=True,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return f"not mirrored: unfinished after {seconds:g} s; {hint}"
    except OSError as error:
        return f"not mirrored: {error}; {hint}"
    lines = done.stdout.strip().splitlines()
    if not lines:
        return f"not mirrored: the mirror ended with status {done.returncode}, see {log}; {hint}"
    return lines[-1]
