"""The graph as text."""

from __future__ import annotations

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


def test_an_unknown_run_names_those_there_are(stores):
    said = run("show", "--metadata", stores.cheap, "cheap-9")
    assert said.status == 2
    assert "no run 'cheap-9'" in said.errors and "cheap-1, cheap-2, cheap-3" in said.errors
