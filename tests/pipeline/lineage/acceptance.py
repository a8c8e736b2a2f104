"""The acceptance pass against a real account: `make acceptance-wandb`.

Needs WANDB_API_KEY, and takes WANDB_BASE_URL and WANDB_ENTITY; writes into a new project named
`pawprint-acceptance-<time>`, which it leaves to be looked at.

TFX records three runs of a small pipeline; they are mirrored by the command line and then read
back through W&B's public API alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.pipeline.lineage.truth import recorded, states


def main() -> int:
    """Prints a line a check; exit status 1 where one failed."""
    if not os.environ.get("WANDB_API_KEY"):
        print("put the key of a W&B account into WANDB_API_KEY")
        return 2
    project = f"pawprint-acceptance-{time.strftime('%Y%m%d-%H%M%S')}"
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "metadata.sqlite"
        _command("tests.pipeline.lineage.cheap_pipeline", folder, str(store))
        arguments = ("--metadata", str(store), "--project", project)
        said = _command("pipeline.lineage", "mirror", *arguments)
        print(said.strip())
        failures = [
            _check("the second pass finds nothing new", lambda: "nothing new" in _again(arguments)),
            _check("`check` finds no difference", lambda: "has all" in _compare(arguments)),
            *_read_back(store, project),
        ]
    print(f"{sum(failures)} of {len(failures)} checks failed" if any(failures) else "accepted")
    return int(any(failures))


def _again(arguments) -> str:
    return _command("pipeline.lineage", "mirror", *arguments)


def _compare(arguments) -> str:
    return _command("pipeline.lineage", "check", *arguments)


def _read_back(store: Path, project: str) -> list[bool]:
    import wandb

    api = wandb.Api()
    path = f"{os.environ.get('WANDB_ENTITY') or api.default_entity}/{project}"
    runs = [api.run(f"{path}/{run.id}") for run in api.runs(path)]
    by_id = {facts["execution"]: run for run in runs if (facts := run.config.get("mlmd"))}
    expected = recorded(store)
    read = {
        "inputs": {(id, a) for id, run in by_id.items() for a in _ids(run.used_artifacts())},
        "made": {(id, a) for id, run in by_id.items() for a in _ids(run.logged_artifacts())},
    }
    groups = {run.group for run in runs}
    model = api.artifact(f"{path}/cheap.Train.model:latest")
    examples = api.artifact(f"{path}/cheap.Make.examples:latest")
    makers = {run.id for run in (examples.logged_by(), model.logged_by())}
    users = {run.id for run in examples.used_by()}
    trains = {id for id, run in by_id.items() if run.job_type == "Train"}
    return [
        _check(
            "input edges equal the store's events", lambda: read["inputs"] == expected["inputs"]
        ),
        _check("output edges equal the store's events", lambda: read["made"] == expected["made"]),
        _check(
            "states equal the store's",
            lambda: {id: run.state for id, run in by_id.items()} == states(store),
        ),
        _check("a group for each run", lambda: groups == {"cheap-1", "cheap-2", "cheap-3"}),
        _check(
            "from the examples to the model",
            lambda: users == {by_id[id].id for id in trains} and len(makers) == 2,
        ),
        _check("no second versions", lambda: (model.version, examples.version) == ("v0", "v0")),
    ]


def _ids(artifacts) -> list[int]:
    """Ids in the store; W&B's own artifacts, such as a run's history, have none."""
    return [a.metadata["mlmd_id"] for a in artifacts if "mlmd_id" in a.metadata]


def _check(name: str, holds: Callable[[], bool]) -> bool:
    """Prints the outcome; returns whether it failed."""
    failed = not holds()
    print(f"  {'FAILED' if failed else 'passed'}  {name}")
    return failed


def _command(module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(
            f"{module} {' '.join(arguments)} failed:\n{done.stdout}{done.stderr[-2000:]}"
        )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
