"""Who a process is, by every TF_CONFIG that Vertex AI and TensorFlow write."""

from __future__ import annotations

import json

import pytest

from models import cluster

ADDRESSES = ["host:1", "host:2", "host:3"]


def read(members: dict, kind: str, index: int = 0) -> cluster.Task:
    config = {"cluster": members, "task": {"type": kind, "index": index}, "environment": "cloud"}
    return cluster.read({"TF_CONFIG": json.dumps(config)})


@pytest.mark.parametrize("text", [None, "", "  ", "{}", '{"cluster": {}}'])
def test_alone_without_a_cluster(text):
    environment = {} if text is None else {"TF_CONFIG": text}
    assert cluster.read(environment) == cluster.Task("worker", 0, 1, True)


def test_chief_and_workers():
    members = {"chief": ADDRESSES[:1], "worker": ADDRESSES[1:]}
    assert read(members, "chief") == cluster.Task("chief", 0, 3, True)
    assert read(members, "worker", 0) == cluster.Task("worker", 0, 3, False)
    assert read(members, "worker", 1) == cluster.Task("worker", 1, 3, False)


def test_first_worker_is_chief_where_there_is_none():
    members = {"worker": ADDRESSES}
    assert [read(members, "worker", i).is_chief for i in range(3)] == [True, False, False]
    assert read(members, "worker").workers == 3


def test_evaluator_takes_no_part():
    members = {"chief": ADDRESSES[:1], "evaluator": ADDRESSES[1:2]}
    assert read(members, "evaluator") == cluster.Task("evaluator", 0, 1, False)


def test_broken_configs_are_refused():
    with pytest.raises(ValueError, match="not valid JSON"):
        cluster.read({"TF_CONFIG": "{"})
    with pytest.raises(ValueError, match="'worker' 5"):
        read({"worker": ADDRESSES}, "worker", 5)
