"""The one run that a training and the mirror share, when the mirror comes first."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from models import options
from models.tracking.wandb_tracker import Tracker
from tests.conftest import REPOSITORY
from tests.standins.wandb.records import Run
from tests.standins.wandb.server import WandbStandIn


def upload(tracker: Tracker, server: WandbStandIn) -> tuple[int, str]:
    command = [
        sys.executable,
        "-m",
        "models.tracking.wandb_upload",
        tracker._folder,
        tracker.run_id,
    ]
    done = subprocess.run(
        [*command, "--project", "paws"],
        cwd=REPOSITORY,
        env=os.environ | server.environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.slow
def test_a_training_that_is_uploaded_after_the_mirror(server, tmp_path):
    fields = {"labels": ["cat", "dog"], "image_size": 32, "store": "here"}
    fields["wandb"] = {"mode": "offline"}
    tracker = Tracker(options.parse(fields), str(tmp_path / "run"))
    for epoch in range(2):
        tracker.submit(lambda run, epoch=epoch: run.log({"epoch": epoch}))
    tracker.finish()
    project = server.project("paws")
    mirrored = Run(tracker.run_id, project, state="finished", jobType="Trainer", group="run-1")
    mirrored.config = json.dumps({"mlmd": {"value": {"execution": 9}, "desc": None}})
    project.all_runs[tracker.run_id] = mirrored

    server.fail(lambda request: b"mutation UpsertBucket" in request.body, 401)
    status, said = upload(tracker, server)
    assert (status, mirrored.history) == (1, [])
    assert said.startswith("not uploaded: ") and "the server lacks the settings " in said

    server.heal()
    status, said = upload(tracker, server)
    assert status == 0 and said.startswith("uploaded: http"), said
    assert [json.loads(row)["epoch"] for row in mirrored.history] == [0, 1]
    settings = mirrored.settings()
    assert settings["mlmd"] == {"execution": 9} and settings["labels"] == ["cat", "dog"]
    assert (mirrored.jobType, mirrored.group) == ("Trainer", "run-1")
