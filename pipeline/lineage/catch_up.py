"""The command line that mirrors a store, to run it and to show it to the user."""

from __future__ import annotations

import shlex
from collections.abc import Iterable


def mirror_command(
    metadata: str,
    project: str,
    entity: str | None = None,
    run: str | None = None,
    upload: Iterable[str] = (),
) -> list[str]:
    """Returns the arguments of `python`; see `python -m pipeline.lineage mirror --help`."""
    command = ["-m", "pipeline.lineage", "mirror", "--metadata", metadata, "--project", project]
    command += ["--entity", entity] if entity else []
    command += ["--run", run] if run else []
    for artifact_type in upload:
        command += ["--upload", artifact_type]
    return command


def hint(command: list[str]) -> str:
    """Formats a command of `mirror_command` as advice to the user."""
    return f"catch up later by: python {shlex.join(command)}"
