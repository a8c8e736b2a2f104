"""The file of an offline W&B run, written by the real client."""

import json
import os
import subprocess
import sys

import pytest

from models.tracking.wandb_records import records

STEPS = 300
_LOG = """
import sys, wandb
with wandb.init(project="paws") as run:
    for step in range(int(sys.argv[1])):
        run.log({"step": step, "text": "a" * 100})
    run.log({"long": "b" * 80_000})
"""


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run whose records fill several blocks; one of them is longer than two blocks.

    Logged by another process: the client's service writes on after `finish`, until it ends.
    """
    folder = tmp_path_factory.mktemp("offline")
    subprocess.run(
        [sys.executable, "-c", _LOG, str(STEPS)],
        cwd=folder,
        env=os.environ | {"HOME": str(folder), "WANDB_MODE": "offline"},
        check=True,
        capture_output=True,
    )
    (found,) = folder.glob("wandb/offline-run-*")
    return found


def rows(folder) -> list[dict]:
    return [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in row.history.item}
        for row in records(str(folder))
        if row.HasField("history")
    ]


def test_every_record_is_read_whole(run_folder):
    found = rows(run_folder)
    assert [row["step"] for row in found[:-1]] == list(range(STEPS))
    assert found[-1]["long"] == "b" * 80_000
    (file,) = run_folder.glob("*.wandb")
    assert file.stat().st_size > 4 * 32768
    assert any(record.HasField("exit") for record in records(str(run_folder)))


@pytest.mark.parametrize("harm", ["cut", "flip"])
def test_what_follows_a_broken_record_is_left(run_folder, tmp_path, harm):
    (file,) = run_folder.glob("*.wandb")
    content = bytearray(file.read_bytes())
    middle = len(content) // 3
    if harm == "cut":
        content = content[:middle]
    else:
        content[middle] ^= 1
    (tmp_path / file.name).write_bytes(content)
    steps = [row["step"] for row in rows(tmp_path)]
    assert 0 < len(steps) < STEPS and steps == list(range(len(steps)))


def test_a_file_of_another_kind_has_no_records(tmp_path):
    (tmp_path / "run.wandb").write_bytes(os.urandom(5000))
    assert list(records(str(tmp_path))) == []
