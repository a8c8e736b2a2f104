"""The graph as text."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3

import pytest

from pipeline.lineage.cli import main
from tests.pipeline.lineage.conftest import run


def test_the_list_of_runs(stores):
    said = run("show", "--metadata", stores.two_pipelines)
    assert said.status == 0
    runs = {line.split()[0]: line for line in said.output.splitlines()}
    assert "cheap" in runs["cheap-1"] and "2 complete" in runs["cheap-1"]
    assert "2 cached" in runs["cheap-2"]
    assert "1 cached, 1 failed" in runs["cheap-3"]
    assert any("pawprint" in line for line in runs.values())


def test_the_graph_of_a_run(stores):
    said = run("show", "--metadata", stores.cheap, "cheap-2")
    lines = said.output.splitlines()
    assert lines[0].startswith("Make  cached")
    assert lines[1].startswith("  -> examples: Examples 1 of execution 1")
    assert lines[2].startswith("Train  cached")
    assert lines[3].startswith("  <- examples: Examples 1 of execution 1")


def test_an_unknown_run_lists_the_known_ones(stores):
    said = run("show", "--metadata", stores.cheap, "cheap-9")
    assert said.status == 2
    assert "no run 'cheap-9'" in said.errors and "cheap-1, cheap-2, cheap-3" in said.errors


@pytest.mark.parametrize("command", [["show"], ["html", "--artifact", "1"]])
def test_show_and_html_write_nothing_to_the_store(command, stores, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = shutil.copy(stores.cheap, "store.sqlite")
    with sqlite3.connect("other.sqlite") as other:
        other.execute("CREATE TABLE mine (a)")
    other.close()
    (tmp_path / "text").write_text("no database at all, but of some length " * 9)
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in tmp_path.iterdir()}
    assert main([command[0], "--metadata", store, *command[1:], *_OUTPUT[command[0]]]) == 0
    for path, reason in (("other.sqlite", "no such table"), ("text", "not a database")):
        assert main([command[0], "--metadata", path, *command[1:]]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: {path} is not a metadata store: ") and reason in said
    assert {p: hashlib.sha256(p.read_bytes()).digest() for p in before} == before


_OUTPUT = {"show": [], "html": ["-o", "page"]}


def test_ids_are_those_of_the_store(stores, capsys):
    for id in ("one", "9" * 30):
        assert main(["html", "--metadata", str(stores.cheap), "--artifact", id]) == 2
        assert "are numbers. Received: " in capsys.readouterr().err
