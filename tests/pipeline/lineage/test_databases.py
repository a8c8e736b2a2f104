"""Stores in MariaDB and PostgreSQL: the same graph, and one mirror at a time."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.metadata.graph import StoreError, load
from pipeline.metadata.stores import PASSWORD, open_source
from tests.conftest import REPOSITORY
from tests.pipeline.lineage.conftest import PROJECT, run, start
from tests.pipeline.lineage.truth import recorded
from tests.standins import databases
from tests.standins.wandb.server import WandbStandIn


@pytest.fixture(scope="module", params=["mariadb", "postgresql"])
def database(request, stores):
    """URI of a database server's store with the content of the small one."""
    with getattr(databases, request.param)() as uri, pytest.MonkeyPatch.context() as patch:
        patch.setenv(PASSWORD, databases.PASSWORD)
        copy(stores.cheap, uri)
        yield uri


def copy(source_path, uri: str) -> None:
    """Copies executions, artifacts, events and contexts by ML Metadata's own client."""
    source, target = open_source(str(source_path))._store, open_source(uri)._store
    types = {}
    for kind in ("artifact", "execution", "context"):
        for found in getattr(source, f"get_{kind}_types")():
            old, found.id = found.id, 0
            types[old] = getattr(target, f"put_{kind}_type")(found)
    artifacts = {a.id: a for a in source.get_artifacts()}
    new_ids: dict[int, int] = {}
    for execution in sorted(source.get_executions(), key=lambda e: e.id):
        pairs = []
        for event in source.get_events_by_execution_ids([execution.id]):
            artifact = mlmd.Artifact()
            artifact.CopyFrom(artifacts[event.artifact_id])
            artifact.type_id = types[artifact.type_id]
            artifact.id = new_ids.get(event.artifact_id, 0)
            if not artifact.id:
                artifact.ClearField("id")
            bare = mlmd.Event(type=event.type, path=event.path)
            pairs.append((event.artifact_id, artifact, bare))
        contexts = source.get_contexts_by_execution(execution.id)
        for context in contexts:
            context.ClearField("id")
            context.type_id = types[context.type_id]
        execution.ClearField("id")
        execution.type_id = types[execution.type_id]
        _, ids, _ = target.put_execution(
            execution, [(a, e) for _, a, e in pairs], contexts, reuse_context_if_already_exist=True
        )
        new_ids |= {old: new for (old, _, _), new in zip(pairs, ids, strict=True)}


def facts(source):
    graph = load(source, [id for _, id in source.updates(None)])
    names = {a.id: (a.type, a.uri) for a in graph.artifacts.values()}
    return sorted(
        (x.pipeline, x.run, x.node, x.state, x.name, e.key, names[e.artifact], way)
        for x in graph.executions.values()
        for way, edges in (("in", x.inputs), ("out", x.outputs), ("made", graph.made(x)))
        for e in edges
    )


def test_the_graph_is_that_of_the_sqlite_store(database, stores):
    assert facts(open_source(database)) == facts(open_source(str(stores.cheap)))


@pytest.mark.slow
def test_two_mirrors_of_one_database_make_one_copy(database, stores):
    with WandbStandIn() as server:
        arguments = ("mirror", "--metadata", database, "--project", PROJECT)
        both = [start(*arguments, environment=server.environment()) for _ in range(2)]
        outputs = [process.communicate(timeout=100)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0], outputs
        made = len(recorded(stores.cheap)["made"])
        assert server.mutations().count("CreateArtifact") == made
        again = run(*arguments, environment=server.environment())
        assert again.status == 0 and "nothing new" in again.output
        said = run("check", *arguments[1:], environment=server.environment())
        assert said.status == 0, said.output
        assert server.unknown == []


@pytest.mark.parametrize("kind", ["mariadb", "postgresql"])
def test_one_of_several_concurrent_processes_creates_a_note(kind, monkeypatch):
    """In a new store, where each of them finds that the notes' type is still to be made."""
    monkeypatch.setenv(PASSWORD, databases.PASSWORD)
    with getattr(databases, kind)() as uri:
        open_source(uri)
        command = [sys.executable, "-c", _NOTER, uri]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        processes = [subprocess.Popen(command, cwd=REPOSITORY, **pipes) for _ in range(4)]
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        said = [process.communicate(timeout=60)[0] for process in processes]
    assert sorted(" ".join(said).split()) == ["first", "second"]


def test_a_lease_is_exclusive_across_hosts(database):
    """Processes that cannot see each other's process ids, as on two hosts."""
    holder = subprocess.Popen(
        [*_other_host(), sys.executable, "-c", _HOLDER, database],
        cwd=REPOSITORY,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    waited = subprocess.run(
        [sys.executable, "-c", _WAITER, database],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    holder.kill()
    holder.wait()
    assert "another mirror is running" in waited.stderr


def _other_host() -> list[str]:
    if os.getuid():
        pytest.skip("needs root, for a namespace of processes of its own")
    return ["unshare", "--pid", "--fork", "--kill-child"]


_NOTER = """
import sys
from pipeline.metadata.stores import open_source
source = open_source(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
print(*[name for name in ("first", "second") if source.create_note(name, "text")])
"""
_HOLDER = """
import sys, time
from pipeline.lineage.lease import hold_lease
from pipeline.metadata.stores import open_source
with hold_lease(open_source(sys.argv[1]), "hosts", 60, 0):
    print("held", flush=True)
    time.sleep(60)
"""
_WAITER = """
import sys
from pipeline.lineage.lease import hold_lease
from pipeline.metadata.stores import open_source
with hold_lease(open_source(sys.argv[1]), "hosts", 60, 0):
    pass
"""


def test_a_wrong_password_is_not_printed(database, monkeypatch):
    monkeypatch.setenv(PASSWORD, "not the password")
    with pytest.raises(StoreError) as raised:
        open_source(database)
    assert "cannot open the metadata store" in str(raised.value)
    assert "not the password" not in str(raised.value)
