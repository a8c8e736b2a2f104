"""Following a folder of versions that changes, fails or is refilled."""

import asyncio
import itertools
import os
import shutil
import unittest.mock
from pathlib import Path

import pytest

from pipeline.serve import versions as module
from pipeline.serve.errors import RequestError
from pipeline.serve.versions import Versions

_TIMES = itertools.count(1_700_000_000)


class Model:
    """As much of a served model as following needs."""

    def __init__(self, path: Path, version: int):
        self.version = version
        self.text = (path / "saved_model.pb").read_text()


@pytest.fixture(autouse=True)
def _no_collector(monkeypatch):
    """It takes seconds among all the objects of a test process."""
    monkeypatch.setattr(module, "gc", unittest.mock.Mock())


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "serving"


def put(folder: Path, version: int, text: str):
    """A version that appears by one rename, and is as old as no other."""
    made = folder.parent / "made"
    made.mkdir()
    (made / "saved_model.pb").write_text(text)
    os.utime(made, (next(_TIMES),) * 2)
    folder.mkdir(exist_ok=True)
    made.rename(folder / str(version))


def test_an_io_error_does_not_end_the_following(folder, monkeypatch, caplog):
    put(folder, 1, "one")
    looks = []

    def served_version(at):
        looks.append(at)
        if 1 < len(looks) < 5:
            raise OSError(5, "Input/output error")
        return max(module.versions(at))

    monkeypatch.setattr(module, "served_version", served_version)

    async def work():
        versions = Versions(folder, Model, 3)
        await versions.refresh()
        following = asyncio.create_task(versions.follow(0.001))
        put(folder, 2, "two")
        while versions.served.version != 2:
            assert not following.done() and len(looks) < 100
            await asyncio.sleep(0.001)
        following.cancel()

    asyncio.run(work())
    assert caplog.text.count("Input/output error\n") == 1, "logged once, not at every poll"


def test_a_replaced_version_is_reloaded(folder):
    async def work():
        versions = Versions(folder, Model, 3)
        await versions.refresh()
        first = versions.served
        await versions.refresh()
        assert versions.served is first, "loaded once"
        shutil.rmtree(folder / "1")
        await versions.refresh()
        assert await versions.get() is first, "better than none"
        put(folder, 1, "new")
        await versions.refresh()
        assert (await versions.get()).text == (await versions.get(1)).text == "new"

    put(folder, 1, "old")
    asyncio.run(work())


def test_a_damaged_replacement_keeps_the_served_model(folder):
    async def work():
        versions = Versions(folder, Model, 3)
        await versions.refresh()
        shutil.rmtree(folder / "1")
        (folder / "1").mkdir()
        with pytest.raises(RequestError, match="version 1 cannot be loaded"):
            await versions.refresh()
        assert (await versions.get()).text == "old"
        assert [(s.version, s.state) for s in versions.status()] == [(1, "END")]

    put(folder, 1, "old")
    asyncio.run(work())


def test_a_replaced_older_version_is_reloaded(folder):
    async def work():
        versions = Versions(folder, Model, 3)
        await versions.refresh()
        assert (await versions.get(1)).text == "old"
        shutil.rmtree(folder / "1")
        put(folder, 1, "new")
        await versions.refresh()
        assert (await versions.get(1)).text == "new" and versions.served.version == 2

    put(folder, 1, "old")
    put(folder, 2, "two")
    asyncio.run(work())
