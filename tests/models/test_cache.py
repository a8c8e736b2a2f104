"""Where examples wait between epochs."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from models import cache

GB = 10**9


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Sets a machine's free memory and disk, and its containers' limits; none by default."""

    def machine(memory, disk=0, limits=()):
        folders = []
        for number, (limit, usage, files) in enumerate(limits):
            folder = tmp_path / str(number)
            folder.mkdir()
            (folder / "limit").write_text(f"{limit}\n")
            (folder / "usage").write_text(f"{usage}\n")
            (folder / "memory.stat").write_text(f"anon 1\ninactive_file {files}\n")
            folders.append((str(folder), "limit", "usage"))
        monkeypatch.setattr(cache, "_CGROUPS", [*folders, (str(tmp_path / "none"), "a", "b")])
        free = SimpleNamespace(available=memory)
        monkeypatch.setattr(cache.psutil, "virtual_memory", lambda: free)
        usage = SimpleNamespace(free=disk)
        monkeypatch.setattr(cache.shutil, "disk_usage", lambda folder: usage)

    return machine


@pytest.mark.parametrize(
    ("limits", "free"),
    [
        ((), 8 * GB),
        ((("max", GB, 0),), 8 * GB),  # No limit.
        (((4 * GB, GB, 0),), 3 * GB),
        (((4 * GB, 3 * GB, 2 * GB),), 3 * GB),  # Files that were read give way.
        (((4 * GB, 5 * GB, 0),), 0),
        (((100 * GB, GB, 0), (2 * GB, GB, 0)), GB),
    ],
)
def test_free_memory_is_the_machines_or_the_containers(machine, limits, free):
    machine(memory=8 * GB, limits=limits)
    assert cache.free_memory() == free


@pytest.mark.parametrize(
    ("memory", "disk", "place"), [(4, 0, "memory"), (3, 4, "file"), (3, 3, "none")]
)
def test_auto_takes_up_to_half_of_the_memory_then_of_the_disk(machine, memory, disk, place):
    machine(memory=memory * GB, disk=disk * GB)
    with cache.locations("auto", 2 * GB) as places:
        kinds = {"file" if os.sep in where else where for where in places.values()}
    assert kinds == {place}


def test_files_are_apart_and_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with cache.locations("file", 1) as places:
        for where in places.values():
            with open(where, "w") as file:
                file.write("x")
        assert len(set(places.values())) == 2
    assert not os.listdir(tmp_path)
    with cache.locations("none", 1) as places:
        assert set(places.values()) == {"none"}
    assert not os.listdir(tmp_path)
