"""Passes of the mirror without W&B's client: what is written, retried and verified."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from pipeline.lineage import mirror as mirror_module
from pipeline.lineage.check import check
from pipeline.lineage.mirror import mirror
from pipeline.lineage.naming import Naming
from pipeline.lineage.wandb_project import WandbError
from pipeline.metadata.stores import open_source
from tests.pipeline.lineage.small_store import COMPLETE, RUNNING, Project, SmallStore


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(mirror_module, "_RETRY_DELAYS_S", (0, 0, 0))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metadata.sqlite"


@pytest.fixture
def store(path):
    return SmallStore(path)


@pytest.fixture
def project():
    return Project()


def pass_of(path, project, **options):
    return mirror(open_source(str(path)), project, 60, **options)


def problems(path, project) -> list[str]:
    return list(check(open_source(str(path)), project))


def test_a_rejected_execution_does_not_block_others(path, store, project):
    for node in ("A", "B", "C"):
        store.add(node, f"/{node}")
    project.rejects = {"B"}
    done = pass_of(path, project)
    assert project.writes == ["A", "B", "C"] and done.written == 2
    assert done.rejected == ["execution 2 (B): B is not taken"]
    store.add("D", "/D")
    project.writes.clear()
    done = pass_of(path, project)
    assert project.writes == ["D", "B"], "the new ones first"
    assert done.written == 1 and len(done.rejected) == 1
    project.rejects.clear()
    assert pass_of(path, project).written == 1
    assert problems(path, project) == [] and pass_of(path, project).written == 0


def test_a_server_that_rejects_everything_ends_the_pass(path, store, project):
    for node in ("A", "B", "C", "D"):
        store.add(node, f"/{node}")
    project.rejects = {"A", "B", "C", "D"}
    with pytest.raises(WandbError, match=r"execution 1 \(A\): A is not taken$"):
        pass_of(path, project)
    assert project.writes == ["A", "B"]
    project.rejects = {"A", "B"}
    with pytest.raises(WandbError, match=r"execution 1 \(A\)"):
        pass_of(path, project)
    assert project.writes[2:] == ["C", "D", "A", "B"], "no failure blocks the others forever"
    project.rejects.clear()
    assert pass_of(path, project).written == 2 and problems(path, project) == []


def test_an_unreachable_server_rejects_no_execution(path, store, project):
    store.add("A", "/A")
    project.is_gone = True
    with pytest.raises(WandbError, match="the server is gone"):
        pass_of(path, project)
    project.is_gone = False
    assert pass_of(path, project).written == 1


def test_an_execution_with_a_rejected_input_is_retried(path, store, project):
    _, made = store.add("A", "/A")
    store.add("B", "/B", uses=[made])
    project.rejects = {"A"}
    done = pass_of(path, project)
    assert done.rejected[1] == "execution 2 (B): uses an output of execution 1"
    assert project.writes == ["A"]
    project.rejects.clear()
    assert pass_of(path, project).written == 2 and problems(path, project) == []


def test_an_execution_with_an_input_of_a_running_one_waits(path, store, project):
    producer, made = store.add("A", "/A", state=RUNNING)
    store.add("B", "/B", uses=[made])
    done = pass_of(path, project)
    assert (done.written, done.waiting, done.rejected) == (0, 2, []) and project.runs == {}
    store.set_state(producer, COMPLETE)
    done = pass_of(path, project)
    assert (done.written, done.waiting) == (2, 0) and problems(path, project) == []
    assert {run.state for run in project.runs.values()} == {"finished"}


def test_reads_that_lag_behind_writes_are_retried(path, store, project):
    store.add("A", "/A")
    project.late = 3
    assert pass_of(path, project).written == 1
    project.late = 5
    done = pass_of(path, project, again=True)
    assert "incomplete in W&B: output p.A.data:mlmd-" in done.rejected[0]


def test_an_emptied_project_is_refilled(path, store, project):
    _, made = store.add("A", "/A", uses=[store.imported("/photos")])
    store.add("B", uses=[made])
    assert pass_of(path, project).written == 2
    kept = dict(project.runs)
    project.runs.clear()
    assert pass_of(path, project).written == 0
    assert pass_of(path, project, again=True).written == 2
    assert project.runs == kept
    project.writes.clear()
    assert pass_of(path, project, again=True).written == 0 and project.writes == []


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("job_type", "train", "its job_type is 'train', expected 'B'"),
        ("group", None, "its group is None, expected 'r'"),
        ("tags", frozenset({"mine"}), "it lacks the tags complete, p"),
        ("digest", None, "the execution's entry in its config is missing"),
        ("digest", "0", "the execution's entry in its config is out of date"),
    ],
)
def test_changes_in_the_project_are_found_and_repaired(field, value, problem, path, store, project):
    """For example by a training that uploads its run after the mirror."""
    _, made = store.add("A", "/A")
    store.add("B", uses=[made])
    pass_of(path, project)
    [(id, run)] = [(id, run) for id, run in project.runs.items() if run.inputs]
    fields = dataclasses.replace(run.fields, **{field: value})
    project.runs[id] = dataclasses.replace(run, fields=fields)
    assert problems(path, project) == [f"execution 2 (B, {id}): {problem}"]
    assert pass_of(path, project, run="r").written == 1
    assert problems(path, project) == []


def test_the_run_of_an_imported_artifact_is_checked(path, store, project):
    store.add("A", "/A", uses=[store.imported("/photos")])
    pass_of(path, project)
    [imported] = [id for id in project.runs if "outside" in id]
    del project.runs[imported]
    assert problems(path, project) == [f"artifact 1 (PhotoSet, {imported}): the run is missing"]
    pass_of(path, project, again=True)
    assert problems(path, project) == []


def test_a_copied_store_keeps_its_own_edges(path, store, project):
    """Both stores share an identity and assign one id to different artifacts."""
    store.add("A", "/A")
    pass_of(path, project)
    copy = SmallStore(shutil.copy(path, path.with_name("copy.sqlite")))
    _, here = store.add("B", "/made here")
    _, there = copy.add("B", "/made there")
    assert here == there
    for metadata in (path, path.with_name("copy.sqlite")):
        pass_of(metadata, project)
    store.add("C", uses=[here])
    pass_of(path, project)
    logged = [version for run in project.runs.values() for version in run.outputs]
    assert len(set(logged)) == len(logged) == 3
    [[used]] = [run.inputs for run in project.runs.values() if run.inputs]
    source = open_source(str(path))
    names = Naming(source.note("identity"))
    assert used.alias == names.alias(source.artifacts([here])[0])
