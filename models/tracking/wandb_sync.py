"""Uploads an offline W&B run and verifies that the server has it; `wandb_upload` runs this.

    python -m models.tracking.wandb_sync FOLDER ENTITY PROJECT RUN_ID

Prints the run's URL, or the reason why the upload failed. Has no time limit.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from models.tracking.wandb_records import records

_PAUSES = (0.5, 1, 2)
"""Seconds between checks of the server, which may show an uploaded run with a delay."""


def main() -> None:
    """Exits with status 0 after the server shows the complete run."""
    import wandb

    folder, entity, project, run_id = sys.argv[1:]
    api = wandb.Api(timeout=10)
    path = f"{entity or api.default_entity}/{project}/{run_id}"
    command = [sys.executable, "-m", "wandb", "sync", "--project", project, "--id", run_id]
    command += ["--entity", entity] if entity else []
    before = _run(api, path)
    done = subprocess.run(
        [*command, folder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        sys.exit(done.stdout or "wandb sync failed")
    # `wandb sync` can succeed without the server storing the run.
    for pause in (*_PAUSES, None):
        seen = _run(api, path)
        problem = _missing(folder, seen)
        if not problem or pause is None:
            break
        time.sleep(pause)
    if problem:
        sys.exit(f"{path}: {problem}")
    # Restores the config that the lineage mirror wrote before: `wandb sync` replaces the whole
    # config, and its `--append` fails for a run without a history.
    if before and (lost := {k: v for k, v in before.config.items() if k not in seen.config}):
        seen.config.update(lost)
        seen.update()
    print(seen.url)


def _run(api: Any, path: str) -> Any:
    """Reads the run from the server; returns None if it does not exist."""
    import wandb

    api.flush()  # Clears the client's cache.
    try:
        return api.run(path)
    except (ValueError, wandb.errors.CommError) as error:
        if "Could not find run" in str(error):
            return None
        raise


def _missing(folder: str, seen: Any) -> str:
    """Describes what the server lacks of the run in a folder; empty if it has everything.

    That the run exists proves nothing: the lineage mirror may have created it.
    """
    if seen is None:
        return "the server does not have the run"
    settings: set[str] = set()
    steps = 0
    for record in records(folder):
        # wandb 0.31 does not upload empty sections.
        sent = (item for item in record.run.config.update if item.value_json != "{}")
        settings |= {item.key for item in sent if item.key}
        steps += record.HasField("history")
    if missing := settings - set(seen.config) - {"_wandb"}:
        return f"the server lacks the settings {', '.join(sorted(missing))}"
    if (there := seen.history_line_count or 0) < steps:
        return f"the server has {there} of {steps} steps"
    return ""


if __name__ == "__main__":
    main()
