"""Sends a W&B run that lies on disk and looks whether it arrived: the work of `wandb_upload`.

    python -m models.tracking.wandb_sync FOLDER ENTITY PROJECT RUN_ID

Prints the run's address, or why it is not there. Takes as long as W&B's client does.
"""

from __future__ import annotations

import subprocess
import sys
import time

from models.tracking.wandb_records import records

_PAUSES = (0.5, 1, 2)
"""Seconds to wait for a server that shows a little later what it has taken."""


def main() -> None:
    """Exit status 0 once the server shows all of the run."""
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
    # It may also end well with nothing stored.
    for pause in (*_PAUSES, None):
        seen = _run(api, path)
        problem = _lacking(folder, seen)
        if not problem or pause is None:
            break
        time.sleep(pause)
    if problem:
        sys.exit(f"{path}: {problem}")
    # The mirror of the lineage may have been here first; `wandb sync` replaces the whole config,
    # and its `--append` fails on a run without a history.
    if before and (lost := {k: v for k, v in before.config.items() if k not in seen.config}):
        seen.config.update(lost)
        seen.update()
    print(seen.url)


def _run(api, path: str):
    """The run as the server has it; None where it has none."""
    import wandb

    api.flush()  # It keeps what it has read.
    try:
        return api.run(path)
    except (ValueError, wandb.errors.CommError) as error:
        if "Could not find run" in str(error):
            return None
        raise


def _lacking(folder: str, seen) -> str:
    """What of the folder the server does not show: the run itself may be the mirror's."""
    if seen is None:
        return "the server has no such run"
    settings: set[str] = set()
    steps = 0
    for record in records(folder):
        # An empty section is nothing to send for wandb 0.31.
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
