"""`python -m pipeline.push` as a user calls it."""

import json
import subprocess
import sys

import pytest

from pipeline.artifacts.version_folder import served_version
from pipeline.push.folder import FolderTarget
from tests.conftest import REPOSITORY


@pytest.fixture
def root(tmp_path):
    for content in "ab":
        model = tmp_path / content
        model.mkdir()
        (model / "saved_model.pb").write_text(content)
        FolderTarget(tmp_path / "runs" / "serving").push(str(model))
    return tmp_path / "runs"


def push(*arguments):
    command = [sys.executable, "-m", "pipeline.push", *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)


def test_status_rollback_and_promote(root):
    status = push("status", "--target", "folder", "--root", root)
    assert status.returncode == 0, status.stderr
    rows = [line.split()[:3] for line in status.stdout.splitlines()[1:]]
    assert rows == [["VERSION", "STATE", "SHARE"], ["1", "kept", "0"], ["2", "served", "100"]]
    back = push("rollback", "--root", root)
    assert back.stdout == f"version 1 is served by {root}/serving\n"
    assert served_version(root / "serving") == 1
    found = json.loads(push("status", "--json", "--root", root).stdout)
    assert [v["state"] for v in found["versions"]] == ["served", "rolled back"]
    assert push("promote", "--version", 2, "--root", root).returncode == 0
    assert served_version(root / "serving") == 2


def test_errors_are_one_line(root, tmp_path):
    wrong = push("rollback", "--version", 7, "--root", root)
    assert wrong.returncode == 1
    assert wrong.stderr == f"error: no version '7' in {root}/serving; there are: 1, 2\n"
    wrong = push("status", "--set", "push.keep=3")
    assert wrong.returncode == 2 and "did you mean push.keep_last" in wrong.stderr
    assert "nothing was pushed yet" in push("status", "--root", tmp_path / "none").stdout
