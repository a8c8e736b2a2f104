"""The mirror at the end of a run: W&B cannot change its exit status or delay it."""

from __future__ import annotations

import shlex
import time

import pytest

from pipeline.config.files import load_config
from pipeline.lineage.automatic import mirror_after_run
from pipeline.metadata.reader import sqlite_store
from tests.conftest import QUICK, run_local
from tests.pipeline.lineage.conftest import run
from tests.pipeline.lineage.truth import Held, recorded
from tests.standins.wandb.server import WandbStandIn

ONLINE = ("--set=wandb.mode=online", "--set=wandb.project=paws")


def after_run(root, *settings) -> str:
    config = load_config(None, [f"root={root}", "wandb.project=paws", *settings])
    return mirror_after_run(config, root / "log")


@pytest.fixture
def root(cheap):
    """A root whose store is the small one."""
    cheap.rename(cheap.with_name("metadata.sqlite"))
    return cheap.parent


def test_it_mirrors_the_store_of_the_root(root, server, monkeypatch):
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    line = after_run(root, "wandb.mode=online")
    assert line.startswith("mirrored 6 executions into ") and "\n" not in line
    assert Held(server, root / "metadata.sqlite").edges == recorded(root / "metadata.sqlite")


def test_a_silent_server_delays_no_longer_than_the_deadline(root, server, monkeypatch):
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    server.hang()
    started = time.monotonic()
    line = after_run(root, "wandb.mode=online", "lineage.deadline_s=4")
    assert time.monotonic() - started < 10
    assert line.startswith("not mirrored: unfinished after 4 s; catch up later by: python -m")
    server.heal()
    command = line.partition("catch up later by: ")[2]
    said = run(*shlex.split(command)[3:], environment=server.environment())
    assert said.status == 0
    assert Held(server, root / "metadata.sqlite").edges == recorded(root / "metadata.sqlite")


def test_offline_mode_prints_the_command_and_sends_nothing(root, server, monkeypatch):
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    line = after_run(root, "wandb.mode=offline")
    assert "wandb.mode is offline" in line and "python -m pipeline.lineage mirror" in line
    assert server.requests == []


@pytest.mark.slow
def test_a_run_with_wandb_and_again_without_its_server(photos, tmp_path, monkeypatch):
    with WandbStandIn() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        first = run_local("--images", photos, *QUICK, *ONLINE, root=tmp_path)
        assert first.status == 0, first.output + first.errors
        store = tmp_path / "metadata.sqlite"
        number = len(sqlite_store(str(store)).get_executions())
        assert f"lineage   mirrored {number} executions into " in first.output
        held = Held(server, store)
        assert held.edges == recorded(store)
        [trainer] = [r for r in held.runs.values() if r.jobType == "Trainer"]
        assert trainer.historyLineCount == 2, "the training's own run, with its metrics"
        assert "epoch/val_loss" in trainer.history[-1] and len(trainer.outputs) == 2
        assert trainer.settings()["labels"], "the training's settings stay"

        server.fail(lambda request: True, 500)
        again = run_local("--images", photos, *QUICK, *ONLINE, root=tmp_path)
        assert again.status == 0, again.output + again.errors
        [line] = [
            li for li in again.output.splitlines() if li.startswith("  lineage   not mirrored: ")
        ]
        assert "Pushed version 1" in again.output and again.summary["status"] == "pushed"
        server.heal()
        command = line.partition("catch up later by: ")[2]
        assert run(*shlex.split(command)[3:], environment=server.environment()).status == 0
        held = Held(server, store)
        assert held.edges == recorded(store)
        assert len(held.runs) == len(sqlite_store(str(store)).get_executions()) == 2 * number
        assert server.unknown == []
