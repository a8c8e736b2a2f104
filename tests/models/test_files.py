"""Files are written atomically and removed without others."""

from __future__ import annotations

import pytest

from models import files


def test_a_file_is_written_whole_and_read_again(tmp_path):
    path = f"{tmp_path}/new/file"
    assert files.read(path) is None
    assert files.read_json(path) is None
    files.write(path, b"one")
    files.write(path, b"another")
    assert files.read(path) == b"another"
    files.write_json(path, {"a": [1]})
    assert files.read_json(path) == {"a": [1]}
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["file"]


def test_an_interrupted_write_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = f"{tmp_path}/file"
    files.write(path, b"old")

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.tf.io.gfile, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        files.write(path, b"new")
    assert files.read(path) == b"old"


def test_a_folder_is_copied_with_all_but_its_links(tmp_path):
    source = tmp_path / "from"
    (source / "a" / "b").mkdir(parents=True)
    for name in ("top", "a/one", "a/b/two"):
        (source / name).write_text(name)
    (source / "latest").symlink_to(source / "top")
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "top").write_text("older")
    files.copy(str(source), f"file://{tmp_path}/to")
    copied = {str(p.relative_to(tmp_path / "to")): p for p in (tmp_path / "to").rglob("*")}
    assert {name for name, path in copied.items() if path.is_file()} == {"top", "a/one", "a/b/two"}
    assert copied["top"].read_text() == "top"
    assert copied["a/b/two"].read_text() == "a/b/two"
