"""The command that brings a project up to date, as it is run and as it is told to a user."""

from __future__ import annotations

import shlex
from collections.abc import Iterable


def words(
    metadata: str,
    project: str,
    entity: str | None = None,
    run: str | None = None,
    upload: Iterable[str] = (),
) -> list[str]:
    """Arguments for Python; see `python -m pipeline.lineage mirror --help`."""
    found = ["-m", "pipeline.lineage", "mirror", "--metadata", metadata, "--project", project]
    found += ["--entity", entity] if entity else []
    found += ["--run", run] if run else []
    for kind in upload:
        found += ["--upload", kind]
    return found


def hint(command: list[str]) -> str:
    """What a user is told of a command of `words`."""
    return f"catch up later by: python {shlex.join(command)}"
