"""Pushes to a folder, as seen by a server that watches it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pipeline.artifacts.version_folder import rolled_back, served_version, versions
from pipeline.push.folder import FolderTarget
from pipeline.push.target import PushError


@pytest.fixture
def model(tmp_path):
    def make(content: str):
        folder = tmp_path / f"model-{content}"
        (folder / "variables").mkdir(parents=True, exist_ok=True)
        (folder / "saved_model.pb").write_text(content)
        (folder / "variables" / "v").write_text(content)
        return str(folder)

    return make


@pytest.fixture
def serving(tmp_path):
    return tmp_path / "serving"


@pytest.fixture
def target(serving):
    return FolderTarget(serving)


def content(serving) -> str:
    """Content of the served version."""
    return (serving / str(served_version(serving)) / "variables" / "v").read_text()


def visible(serving) -> list[str]:
    return sorted(path.name for path in serving.iterdir() if not path.name.startswith("."))


def test_versions_increase_and_old_ones_are_removed(model, serving):
    target = FolderTarget(serving, keep_last=2)
    assert versions(serving) == [] and served_version(serving) is None
    assert [target.push(model(c)).version for c in "abcd"] == ["1", "2", "3", "4"]
    assert visible(serving) == ["3", "4", "LATEST"]
    assert (serving / "LATEST").read_text() == "4\n"
    assert content(serving) == "d"
    assert target.push(model("e")).destination == str(serving / "5")


def test_the_newest_version_is_not_pushed_twice(model, target):
    assert target.push(model("a")) == target.push(model("a"))
    assert target.push(model("b")).version == "2"
    assert target.push(model("a")).version == "3", "an older model again is a new version"


def test_a_rollback_serves_the_previous_version_and_promote_undoes_it(model, serving, target):
    for c in "abc":
        target.push(model(c))
    assert target.rollback() == "2" and content(serving) == "b"
    assert (serving / "LATEST").read_text() == "2\n"
    assert target.rollback() == "1" and content(serving) == "a"
    assert versions(serving) == [1] and rolled_back(serving) == [2, 3]
    states = {row.name: (row.state, row.share) for row in target.status().versions}
    assert states == {"1": ("served", 100), "2": ("rolled back", 0), "3": ("rolled back", 0)}
    assert target.promote("3") == "3" and content(serving) == "c"
    assert visible(serving) == ["1", "3", "LATEST"]


def test_a_rolled_back_version_keeps_its_number(model, serving, target):
    for c in "ab":
        target.push(model(c))
    target.rollback()
    assert target.push(model("c")).version == "3"
    assert target.promote("2") == "4", (
        "2 is too low to be served by a server that takes the highest"
    )
    assert content(serving) == "b" and rolled_back(serving) == []
    assert target.promote("4") == "4"


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_an_interrupted_promotion_is_completed_by_the_next(
    renames, model, serving, target, monkeypatch
):
    for c in "ab":
        target.push(model(c))
    target.rollback()
    target.push(model("c"))
    rename, done = os.rename, []

    def dies(*paths):  # before 2 comes back, before a copy of it is 4, before LATEST is written
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(paths)
        rename(*paths)

    monkeypatch.setattr(os, "rename", dies)
    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        target.promote("2")
    monkeypatch.undo()
    assert rolled_back(serving) == ([] if renames else [2])
    assert (served := content(serving)) == ("b" if renames == 2 else "c")
    assert target.push(model(served)).version == str(served_version(serving)), "as it is"
    target.promote("2")
    assert content(serving) == "b" and rolled_back(serving) == []


def test_a_rollback_to_a_named_version(model, serving, target):
    for c in "abcd":
        target.push(model(c))
    assert target.rollback("2") == "2" and rolled_back(serving) == [3, 4]


def test_a_model_that_was_rolled_back_is_not_pushed_again(model, serving, target):
    for c in "ab":
        target.push(model(c))
    target.rollback()
    with pytest.raises(
        PushError, match=r"is version 2 of .*serving, which was rolled back; .*--ver"
    ):
        target.push(model("b"))
    assert served_version(serving) == 1


def test_keep_last_never_removes_a_rolled_back_version(model, serving):
    target = FolderTarget(serving, keep_last=1)
    for c in "abc":
        FolderTarget(serving).push(model(c))
    target.rollback("1")
    target.push(model("d"))
    assert versions(serving) == [4] and rolled_back(serving) == [2, 3]
    with pytest.raises(PushError, match=r"is version 2 of .*serving, which was rolled back"):
        target.push(model("b"))


def test_errors_say_why(model, serving, target):
    with pytest.raises(PushError, match=r"no version of .* precedes the first"):
        target.rollback()
    target.push(model("a"))
    with pytest.raises(PushError, match=r"precedes 1: nothing to roll back to"):
        target.rollback()
    with pytest.raises(PushError, match=r"no version '7' in .*; there are: 1"):
        target.rollback("7")
    with pytest.raises(PushError, match=r"no version waits for promotion: .* serves version 1"):
        target.promote()


def test_keep_last_never_removes_the_served_version(model, serving):
    target = FolderTarget(serving, keep_last=1)
    target.push(model("a"))
    FolderTarget(serving).push(model("b"))
    target.rollback()
    assert versions(serving) == [1]
    target.push(model("c"))
    assert versions(serving) == [3] and rolled_back(serving) == [2]


def test_a_folder_that_cannot_be_written_is_found_before_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        PushError, match=r"cannot create the folder .*file/serving: Not a directory"
    ):
        FolderTarget(tmp_path / "file" / "serving").preflight()


def test_every_preflight_returns_another_value(target):
    assert target.preflight() != target.preflight(), "TFX would take a push from its cache"


def test_concurrent_pushes_run_one_after_the_other(model, serving):
    threads = [
        threading.Thread(target=FolderTarget(serving, keep_last=9).push, args=(model(c),))
        for c in "abcdef"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert versions(serving) == [1, 2, 3, 4, 5, 6]
    kept = {(serving / str(v) / "variables" / "v").read_text() for v in versions(serving)}
    assert kept == set("abcdef")


# Pushes a model, and stops for good at a step of the way.
_PUSH = """
import sys, time, shutil, os
from pathlib import Path
from pipeline.push.folder import FolderTarget
step, model, serving = sys.argv[1:]
def stop(*_, **__):
    print("here", flush=True)
    time.sleep(60)
if step == "copying":
    real = shutil.copyfile
    shutil._USE_CP_SENDFILE = False
    shutil.copyfileobj = stop
elif step == "copied":
    os.rename = stop
elif step == "renamed":
    os.replace = stop
elif step == "removing":
    shutil.rmtree = lambda path, ignore_errors=False: ignore_errors or stop()
FolderTarget(Path(serving), keep_last=1).push(model)
"""


@pytest.mark.parametrize("step", ["copying", "copied", "renamed", "removing"])
def test_a_killed_push_is_completed_or_undone_by_the_next(step, model, serving, target):
    target.push(model("a"))
    with subprocess.Popen(
        [sys.executable, "-c", _PUSH, step, model("b"), str(serving)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "here\n"
        with pytest.raises(PushError, match=r"has been locked by another push for 0\.2 s"):
            FolderTarget(serving, lock_timeout_s=0.2).push(model("c"))
        process.send_signal(signal.SIGKILL)
    out = step in ("renamed", "removing")
    assert content(serving) == ("b" if out else "a"), "whole or not at all"
    assert bool(target.status().notes) == (step != "renamed")
    assert target.push(model("b")).version == "2"
    assert content(serving) == "b" and (serving / "LATEST").read_text() == "2\n"
    assert not target.status().notes
    left = sorted(path.name for path in serving.iterdir())
    assert left == [".lock", *(["1"] if step != "removing" else []), "2", "LATEST"]


def test_a_reader_never_sees_a_partial_version(model, serving, target):
    """Reads as a server does while versions come and go."""
    target.push(model("a"))
    wrong, read, stop = [], [], threading.Event()

    def look():
        while not stop.is_set():
            version = served_version(serving)
            with contextlib.suppress(FileNotFoundError):  # gone between the two looks
                read.append((version, sorted(os.listdir(serving / str(version)))))

    def reads():
        try:
            look()
        except Exception as error:
            wrong.append(error)

    reader = threading.Thread(target=reads)
    reader.start()
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        target.push(model("b"))
        target.rollback()
        target.promote(str(rolled_back(serving)[-1]))
        target.push(model("a"))
        seen = len(read)
    while len(read) == seen and reader.is_alive():
        time.sleep(0.001)  # it reads to the end
    stop.set()
    reader.join()
    assert not wrong
    assert {tuple(names) for _, names in read} == {("saved_model.pb", "variables")}
    assert len({version for version, _ in read}) > 5
