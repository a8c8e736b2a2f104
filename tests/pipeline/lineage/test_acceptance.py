"""The acceptance pass itself, run against the stand-in."""

import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

COMMAND = [sys.executable, "-m", "tests.pipeline.lineage.acceptance"]


@pytest.mark.slow
def test_the_acceptance_pass_runs_to_its_end(server):
    outside = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    done = subprocess.run(
        COMMAND,
        cwd=REPOSITORY,
        env=outside | server.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed") == 8 and done.stdout.endswith("accepted\n")
