"""The task of a process, for every TF_CONFIG that Vertex AI and TensorFlow write."""

from __future__ import annotations

import json

import pytest

from models.distributed import cluster, rendezvous

ADDRESSES = ["host:1", "host:2", "host:3"]


def read(members: dict, kind: str, index: int = 0) -> tuple:
    config = {"cluster": members, "task": {"type": kind, "index": index}, "environment": "cloud"}
    task = cluster.read_task({"TF_CONFIG": json.dumps(config)})
    return task.kind, task.index, task.workers, task.is_chief


@pytest.mark.parametrize("text", [None, "", "  ", "{}", '{"cluster": {}}'])
def test_alone_without_a_cluster(text):
    environment = {} if text is None else {"TF_CONFIG": text}
    assert cluster.read_task(environment) == cluster.ClusterTask("worker", 0, 1, True)


@pytest.mark.parametrize("kind", ["chief", "master", "worker"])
def test_a_cluster_of_one_is_alone(kind):
    assert read({kind: ADDRESSES[:1]}, kind)[2:] == (1, True)
    text = json.dumps({"cluster": {kind: ADDRESSES[:1]}, "task": {"type": kind, "index": 0}})
    assert not cluster.read_task({"TF_CONFIG": text}).addresses


@pytest.mark.parametrize("kind", ["chief", "master"])
def test_chief_and_workers(kind):
    members = {kind: ADDRESSES[:1], "worker": ADDRESSES[1:]}
    assert read(members, kind) == ("chief", 0, 3, True)
    assert read(members, "worker", 0) == ("worker", 0, 3, False)
    assert read(members, "worker", 1) == ("worker", 1, 3, False)


def test_first_worker_is_chief_where_there_is_none():
    members = {"worker": ADDRESSES}
    assert [read(members, "worker", i)[3] for i in range(3)] == [True, False, False]
    assert read(members, "worker")[2] == 3


@pytest.mark.parametrize(
    ("members", "ranks"),
    [
        ({"chief": ADDRESSES[:1], "worker": ADDRESSES[1:]}, [("chief", 0), ("worker", 0)]),
        ({"worker": ADDRESSES}, [("worker", 0), ("worker", 1), ("worker", 2)]),
        ({"chief": ADDRESSES[:1]}, [("chief", 0)]),
    ],
)
def test_ranks_count_the_processes_that_train(members, ranks):
    for rank, (kind, index) in enumerate(ranks):
        config = {"cluster": members, "task": {"type": kind, "index": index}}
        assert cluster.read_task({"TF_CONFIG": json.dumps(config)}).rank == rank


def test_evaluator_takes_no_part():
    members = {"chief": ADDRESSES[:1], "worker": ADDRESSES[1:2], "evaluator": ADDRESSES[2:]}
    assert read(members, "evaluator") == ("evaluator", 0, 2, False)
    assert read(members, "worker") == ("worker", 0, 2, False)
    text = json.dumps({"cluster": members, "task": {"type": "chief", "index": 0}})
    task = cluster.read_task({"TF_CONFIG": text})
    assert task.trains
    assert task.addresses == {"chief": ("host:1",), "worker": ("host:2",)}


def test_broken_configs_are_refused():
    with pytest.raises(ValueError, match="not valid JSON"):
        cluster.read_task({"TF_CONFIG": "{"})
    with pytest.raises(ValueError, match="'worker' 5"):
        read({"worker": ADDRESSES}, "worker", 5)
    with pytest.raises(ValueError, match=r"\['ps'\], which mirrored training does not use"):
        read({"worker": ADDRESSES, "ps": ["host:4"]}, "worker")


def test_only_errors_about_a_lost_process_are_translated():
    import tensorflow as tf

    def fail(error, workers=2):
        with cluster.translate_errors(cluster.ClusterTask("worker", 1, workers)):
            raise error

    said = "Graph execution error:\n\nCollective ops is aborted by: worker 0 is down\nRestart"
    with pytest.raises(rendezvous.ClusterError) as lost:
        fail(tf.errors.UnavailableError(None, None, said))
    assert "was lost; this is worker 1 of 2 processes" in str(lost.value)
    assert str(lost.value).endswith(
        "TensorFlow reports: Collective ops is aborted by: worker 0 is down"
    )
    with pytest.raises(tf.errors.UnavailableError):
        fail(tf.errors.UnavailableError(None, None, said), workers=1)
    with pytest.raises(tf.errors.InternalError):
        fail(tf.errors.InternalError(None, None, "cuDNN launch failure"))
