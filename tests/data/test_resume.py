"""Conversions that are killed with SIGKILL and resumed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict

import pandas as pd
import pytest

import data
from data import DataError
from data.conversion import local
from data.conversion.plan import ConversionPlan
from tests.data.drawn import image_table, manifest_of
from tests.data.test_convert import convert, quiet, tree

SHARDS = 6
PLAN = ConversionPlan([], [], 0, {}, None, {}, {}, "", "another")
CODE = """
import sys, pandas as pd, data
table = pd.read_csv(sys.argv[1])
data.convert(table, tfrecord_dir=sys.argv[2], num_shards=6, workers=1, resume=True,
             encoding="jpeg", progress=lambda done, total: None)
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    table = image_table(folder / "files", {"TRAIN": 240, "TEST": 12})
    table.to_csv(folder / "data.csv", index=False)
    data.convert(
        table, tfrecord_dir=folder / "whole", num_shards=SHARDS, encoding="jpeg", progress=quiet
    )
    return folder


def started(photos, folder) -> subprocess.Popen:
    command = [sys.executable, "-c", CODE, str(photos / "data.csv"), str(folder)]
    return subprocess.Popen(command, start_new_session=True)


def finished_shards(folder):
    return sorted(folder.with_name("out.partial").glob("*.tfrecord"))


@pytest.mark.parametrize("after", [0, 1, 4, 2 * SHARDS], ids=lambda n: f"{n}-shards")
def test_a_killed_and_resumed_conversion_has_the_same_content(photos, tmp_path, after):
    folder = tmp_path / "out"
    process = started(photos, folder)
    partial = tmp_path / "out.partial"
    deadline = time.monotonic() + 60
    # The last count is reached between the last shard and the manifest, or after the end.
    while len(finished_shards(folder)) < after or not partial.exists():
        if folder.exists() or process.poll() is not None:
            break
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    os.killpg(process.pid, signal.SIGKILL)  # also the workers, while they write
    process.wait()
    if not folder.exists():
        with pytest.raises(DataError, match=r"unfinished conversion|No such folder|No records"):
            data.describe(partial)
    survivors = {path.name: path.stat().st_mtime_ns for path in finished_shards(folder)}
    reported = {path.stem for path in (partial / ".work").glob("*.json")}

    again = started(photos, folder)
    assert again.wait(60) == 0
    assert tree(folder) == tree(photos / "whole")
    for name, stamp in survivors.items():
        if any(name.startswith(report.split(".")[0]) for report in reported):
            assert (folder / name).stat().st_mtime_ns == stamp, f"{name} was written again"
    assert not partial.exists()


def test_a_worker_ends_when_its_parent_is_killed(photos, tmp_path):
    process = started(photos, tmp_path / "out")
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    workers: list[str] = []
    deadline = time.monotonic() + 60
    while not workers and process.poll() is None and time.monotonic() < deadline:
        with open(children) as stream:
            workers = stream.read().split()
    process.kill()
    process.wait()
    assert workers
    while any(os.path.exists(f"/proc/{worker}") for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its parent"
        time.sleep(0.05)


def test_a_damaged_shard_is_written_again(photos, tmp_path):
    folder = tmp_path / "out"
    process = started(photos, folder)
    while len(finished_shards(folder)) < 2 and process.poll() is None:
        time.sleep(0.0005)
    process.kill()
    process.wait()
    if not folder.exists():
        first = finished_shards(folder)[0]
        first.write_bytes(first.read_bytes()[:-1])
        assert started(photos, folder).wait(60) == 0
    assert tree(folder) == tree(photos / "whole")


@pytest.mark.parametrize("whole", [True, False])
def test_files_of_killed_workers_are_deleted(photos, tmp_path, whole):
    partial = tmp_path / "out.partial"
    if whole:
        shutil.copytree(photos / "whole", partial)
    else:
        (partial / ".work").mkdir(parents=True)
        plan = {**asdict(PLAN), "digest": manifest_of(photos / "whole")["plan"]}
        (partial / ".work" / "plan.json").write_text(json.dumps(plan))
    for name in ("train-00000-of-00006.tfrecord.0123abcd.tmp", "manifest.json.0123abcd.tmp"):
        (partial / name).write_bytes(b"half")
    options = {"num_shards": SHARDS, "encoding": "jpeg", "workers": 1, "resume": True}
    convert(pd.read_csv(photos / "data.csv"), tmp_path / "out", **options)
    assert tree(tmp_path / "out") == tree(photos / "whole")


def test_a_plan_of_another_version_is_not_resumed(tmp_path):
    table = image_table(tmp_path / "photos", {"TRAIN": 2})
    notes = tmp_path / "out.partial" / ".work"
    notes.mkdir(parents=True)
    (notes / "plan.json").write_text('{"version": 2}')
    convert(table, tmp_path / "out", resume=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "photos"]


def test_a_complete_partial_folder_beside_another_folder_is_an_error(photos, tmp_path):
    table = pd.read_csv(photos / "data.csv")
    options = {"num_shards": SHARDS, "encoding": "jpeg", "progress": quiet, "resume": True}
    shutil.copytree(photos / "whole", tmp_path / "runs" / "a.partial")
    (tmp_path / "runs" / "a").mkdir()
    with pytest.raises(DataError, match="exists already, with something else"):
        data.convert(table, tfrecord_dir=tmp_path / "runs" / "a", **options)
    made = data.convert(table, tmp_path / "runs", **options)
    assert made["tfrecord_dir"] != str(tmp_path / "runs" / "a")


def test_a_killed_worker_stops_the_conversion_which_can_be_resumed(tmp_path, monkeypatch):
    table = image_table(tmp_path / "photos", {"TRAIN": 4})
    with monkeypatch.context() as patch, pytest.raises(DataError) as raised:
        patch.setattr(
            "data.conversion.pool._COMMAND", "import os; input(); os.kill(os.getpid(), 9)"
        )
        convert(table, tmp_path / "out")
    for part in ("train-00000-of-00001", "status -9", "out of memory", "resume=True"):
        assert part in str(raised.value)
    convert(table, tmp_path / "out", resume=True)


def test_finished_shards_are_reported_first(tmp_path):
    table = image_table(tmp_path / "photos", {"TRAIN": 8})
    (tmp_path / "photos" / "TRAIN-007.jpg").write_bytes(b"")
    options = {"num_shards": 4, "workers": 1, "resume": True, "max_bad_fraction": 0}
    with pytest.raises(DataError, match="Too many bad photos"):
        convert(table, tmp_path / "out", **options)
    calls = []
    options |= {"max_bad_fraction": 1, "progress": lambda *numbers: calls.append(numbers)}
    data.convert(table, tfrecord_dir=tmp_path / "out", **options)
    assert calls[0][0] >= 6 and calls[-1] == (8, 8)


def test_a_folder_of_a_running_conversion_is_refused(photos, tmp_path):
    table = image_table(tmp_path / "photos", {"TRAIN": 2})
    folder = str(tmp_path / "out")
    locked = local.working_folder(folder, PLAN, False)
    with locked, pytest.raises(DataError, match="Another conversion"):
        data.convert(table, tfrecord_dir=folder, progress=quiet)


def test_a_conversion_killed_before_the_rename_is_resumed(photos, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(photos / "whole", tmp_path / "out.partial")
    (tmp_path / "out.partial" / "lock").touch()
    assert started(photos, folder).wait(60) == 0
    assert tree(folder) == tree(photos / "whole")
    assert not (tmp_path / "out.partial").exists()


def test_without_resume_everything_is_written_again(photos, tmp_path):
    partial = tmp_path / "out.partial"
    shutil.copytree(photos / "whole", partial)
    table = image_table(tmp_path / "photos", {"TRAIN": 2})
    data.convert(table, tfrecord_dir=tmp_path / "out", progress=quiet)
    assert data.describe(tmp_path / "out").counts == {"train": {"dog": 1, "cat": 1}}


def test_resume_finds_the_unfinished_folder_by_itself(photos, tmp_path):
    table = pd.read_csv(photos / "data.csv")
    options = {"num_shards": SHARDS, "encoding": "jpeg", "progress": quiet}
    name = tmp_path / "out" / "tfrecorder-20260101-000000-convert"
    shutil.copytree(photos / "whole", f"{name}.partial")
    made = data.convert(table, tmp_path / "out", resume=True, **options)
    assert made["tfrecord_dir"] == str(name)
    fresh = data.convert(table, tmp_path / "out", resume=True, **options)
    assert fresh["tfrecord_dir"] != str(name)
