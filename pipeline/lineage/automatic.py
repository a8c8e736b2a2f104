"""The mirror at the end of a run: a process of its own, which the run outlives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.lineage import catch_up

if TYPE_CHECKING:
    from pipeline.config.schema import Config

_GRACE = 5
"""Seconds beyond the deadline in which the mirror ends itself."""


def mirror_after_run(config: Config, log: Path) -> str:
    """Mirrors the store; returns one line for the user, and never raises.

    Args:
        config: `wandb` says where to, `lineage` for how long.
        log: takes what the mirror's libraries print.
    """
    metadata = Path(config.root).resolve() / "metadata.sqlite"
    command = catch_up.words(str(metadata), config.wandb.project, config.wandb.entity)
    later = catch_up.hint(command)
    if config.wandb.mode == "offline":
        return f"not mirrored: wandb.mode is offline; {later}"
    seconds = config.lineage.deadline_s
    try:
        with log.open("a") as errors:
            done = subprocess.run(
                [sys.executable, *command, "--deadline", f"{seconds:g}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=Path(__file__).resolve().parents[2],
                timeout=seconds + _GRACE,
                text=True,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return f"not mirrored: unfinished after {seconds:g} s; {later}"
    except OSError as error:
        return f"not mirrored: {error}; {later}"
    lines = done.stdout.strip().splitlines()
    if not lines:
        return f"not mirrored: the mirror ended with status {done.returncode}, see {log}; {later}"
    return lines[-1]
