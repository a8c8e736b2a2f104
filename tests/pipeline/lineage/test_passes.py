"""What a pass sends, what it leaves behind and what it claims, without W&B's client."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from pipeline.lineage import mirror as mirror_module
from pipeline.lineage.check import check
from pipeline.lineage.mirror import mirror
from pipeline.lineage.naming import Naming
from pipeline.lineage.target import TargetError
from pipeline.metadata.stores import open_source
from tests.pipeline.lineage.small_store import COMPLETE, RUNNING, Project, SmallStore


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(mirror_module, "_PAUSES", (0, 0, 0))


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


def test_one_that_is_refused_holds_up_nothing(path, store, project):
    for node in ("A", "B", "C"):
        store.add(node, f"/{node}")
    project.refuses = {"B"}
    done = pass_of(path, project)
    assert project.writes == ["A", "B", "C"] and done.written == 2
    assert done.refused == ["execution 2 (B): B is not taken"]
    store.add("D", "/D")
    project.writes.clear()
    done = pass_of(path, project)
    assert project.writes == ["D", "B"], "the new ones first"
    assert done.written == 1 and len(done.refused) == 1
    project.refuses.clear()
    assert pass_of(path, project).written == 1
    assert problems(path, project) == [] and pass_of(path, project).written == 0


def test_a_server_that_takes_nothing_ends_the_pass(path, store, project):
    for node in ("A", "B", "C", "D"):
        store.add(node, f"/{node}")
    project.refuses = {"A", "B", "C", "D"}
    with pytest.raises(TargetError, match=r"execution 1 \(A\): A is not taken$"):
        pass_of(path, project)
    assert project.writes == ["A", "B"]
    project.refuses = {"A", "B"}
    with pytest.raises(TargetError, match=r"execution 1 \(A\)"):
        pass_of(path, project)
    assert project.writes[2:] == ["C", "D", "A", "B"], "two in a row hold up nothing for ever"
    project.refuses.clear()
    assert pass_of(path, project).written == 2 and problems(path, project) == []


def test_a_server_that_is_gone_is_no_fault_of_an_execution(path, store, project):
    store.add("A", "/A")
    project.is_gone = True
    with pytest.raises(TargetError, match="the server is gone"):
        pass_of(path, project)
    project.is_gone = False
    assert pass_of(path, project).written == 1


def test_what_takes_in_something_refused_waits_for_it(path, store, project):
    _, made = store.add("A", "/A")
    store.add("B", "/B", uses=[made])
    project.refuses = {"A"}
    done = pass_of(path, project)
    assert done.refused[1] == "execution 2 (B): takes in what execution 1 made"
    assert project.writes == ["A"]
    project.refuses.clear()
    assert pass_of(path, project).written == 2 and problems(path, project) == []


def test_what_takes_in_something_of_a_running_execution_waits_for_it(path, store, project):
    producer, made = store.add("A", "/A", state=RUNNING)
    store.add("B", "/B", uses=[made])
    done = pass_of(path, project)
    assert (done.written, done.waiting, done.refused) == (0, 2, []) and project.runs == {}
    store.set_state(producer, COMPLETE)
    done = pass_of(path, project)
    assert (done.written, done.waiting) == (2, 0) and problems(path, project) == []
    assert {seen.state for seen in project.runs.values()} == {"finished"}


def test_a_server_that_shows_things_late_is_asked_again(path, store, project):
    store.add("A", "/A")
    project.late = 3
    assert pass_of(path, project).written == 1
    project.late = 5
    done = pass_of(path, project, again=True)
    assert "did not arrive: output p.A.data:mlmd-" in done.refused[0]


def test_a_project_that_was_emptied_is_filled_again(path, store, project):
    _, made = store.add("A", "/A", uses=[store.outside("/photos")])
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
        ("digest", None, "what its config says of the execution is missing"),
        ("digest", "0", "what its config says of the execution is out of date"),
    ],
)
def test_what_was_changed_in_the_project_is_found_and_mended(
    field, value, problem, path, store, project
):
    """As by a training's upload that came after the mirror."""
    _, made = store.add("A", "/A")
    store.add("B", uses=[made])
    pass_of(path, project)
    [(id, seen)] = [(id, seen) for id, seen in project.runs.items() if seen.uses]
    labels = dataclasses.replace(seen.labels, **{field: value})
    project.runs[id] = dataclasses.replace(seen, labels=labels)
    assert problems(path, project) == [f"execution 2 (B, {id}): {problem}"]
    assert pass_of(path, project, run="r").written == 1
    assert problems(path, project) == []


def test_where_an_artifact_came_from_is_checked_too(path, store, project):
    store.add("A", "/A", uses=[store.outside("/photos")])
    pass_of(path, project)
    [outside] = [id for id in project.runs if "outside" in id]
    del project.runs[outside]
    assert problems(path, project) == [f"artifact 1 (PhotoSet, {outside}): the run is missing"]
    pass_of(path, project, again=True)
    assert problems(path, project) == []


def test_a_copied_store_that_goes_on_by_itself_keeps_its_edges(path, store, project):
    """Both have one identity, and give one id to different artifacts."""
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
    logged = [version for seen in project.runs.values() for version in seen.logs]
    assert len(set(logged)) == len(logged) == 3
    [[used]] = [seen.uses for seen in project.runs.values() if seen.uses]
    source = open_source(str(path))
    names = Naming(source.note("identity"))
    assert used.alias == names.alias(source.artifacts([here])[0])
