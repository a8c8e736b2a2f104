import json
import os
import sqlite3
from contextlib import closing

import pytest

from pipeline.run.run_folder import RootError, RunFolder, check_metadata, error_text, locked_root


def test_run_ids_are_distinct(tmp_path):
    ids = [RunFolder(tmp_path).run_id for _ in range(3)]
    assert len(set(ids)) == 3
    assert ids == sorted(ids)


def test_one_run_at_a_time(tmp_path):
    with locked_root(tmp_path), pytest.raises(RootError, match="another run"):
        locked_root(tmp_path).__enter__()
    with locked_root(tmp_path):
        pass


def test_a_root_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RootError, match="cannot write"), locked_root(tmp_path / "file" / "root"):
        pass


def test_a_root_inside_the_photos_is_refused_and_not_made(tmp_path):
    inside = tmp_path / "photos" / "runs"
    with pytest.raises(RootError, match="inside the photos"):
        locked_root(inside, str(tmp_path / "photos")).__enter__()
    assert not inside.exists()
    with locked_root(tmp_path / "photos2", str(tmp_path / "photos")):
        pass


def test_metadata_that_cannot_be_used_is_named(tmp_path, monkeypatch):
    file = tmp_path / "metadata.sqlite"
    check_metadata(file)
    assert not file.exists()
    connect = sqlite3.connect
    with closing(connect(file, isolation_level=None)) as other:
        other.execute("CREATE TABLE t (c)")
        check_metadata(file)
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, timeout=0))
        with pytest.raises(RootError, match=r"metadata\.sqlite .* database is locked"):
            check_metadata(file)
    file.write_bytes(b"x" * 5000)
    with pytest.raises(RootError, match=r"not a database; .* choose another --root"):
        locked_root(tmp_path).__enter__()


def test_the_error_of_a_full_disk_says_what_to_do(tmp_path):
    with pytest.raises(OSError) as full, open("/dev/full", "w") as file:
        file.write("x")
    assert f"free space or inodes for {tmp_path}" in error_text(full.value, tmp_path)
    assert error_text(ValueError("another"), tmp_path) == "another"


def test_summary_and_discards(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_summary({"a": 1})
    assert json.loads(folder.summary.read_text()) == {"a": 1}
    folder.write_discarded([{"path": "a,b.jpg", "row": 2, "reason": "no", "exception": "E"}])
    assert folder.discarded.read_text().splitlines() == [
        "path,row,reason,exception",
        '"a,b.jpg",2,no,E',
    ]


def test_skipped_files_are_listed_whatever_their_names(tmp_path):
    folder = RunFolder(tmp_path)
    name = os.fsdecode(b"caf\x82.jpg")
    folder.write_discarded([{"path": name, "row": 1, "reason": "a", "exception": ""}])
    assert b"caf\x82.jpg,1,a," in folder.discarded.read_bytes()
    folder.write_summary({"source": name})
    assert json.loads(folder.summary.read_text())["source"] == name
