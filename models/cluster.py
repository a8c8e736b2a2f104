"""The training cluster: who this process is, from TF_CONFIG, and the strategy that spans it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import socket
import sys
import threading
from collections.abc import Mapping

from models.options import TrainerOptions

TRAINING_TASKS = ("chief", "master", "worker")
_log = logging.getLogger("pawprint")


@dataclasses.dataclass(frozen=True)
class Task:
    """This process's place in the cluster; one alone is worker 0 of 1, and its chief."""

    kind: str = "worker"
    index: int = 0
    workers: int = 1
    """Processes that train together: the chief and the workers."""
    is_chief: bool = True

    @property
    def trains(self) -> bool:
        """Whether the task takes part in training; an `evaluator` does not."""
        return self.kind in TRAINING_TASKS


def read(environment: Mapping[str, str] = os.environ) -> Task:
    """This process's task by TF_CONFIG, as Vertex AI and TensorFlow define it; alone without one.

    Raises:
        ValueError: TF_CONFIG is not JSON, or its task is not in its cluster.
    """
    text = environment.get("TF_CONFIG", "").strip()
    if not text:
        return Task()
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"TF_CONFIG is not valid JSON ({error}). Received: {text!r}.") from None
    cluster, task = config.get("cluster") or {}, config.get("task") or {}
    if not cluster:
        return Task()
    kind, index = task.get("type"), int(task.get("index", 0))
    if kind not in cluster or index >= len(cluster[kind]):
        sizes = {name: len(addresses) for name, addresses in cluster.items()}
        raise ValueError(
            f"TF_CONFIG names the task {kind!r} {index}, which its cluster lacks: {sizes}."
        )
    chiefs = [name for name in ("chief", "master") if cluster.get(name)]
    workers = len(cluster.get("worker", ())) + len(chiefs)
    # Without a chief the first worker does its work, as TensorFlow itself has it.
    is_chief = kind in chiefs or (not chiefs and kind == "worker" and index == 0)
    return Task(kind, index, workers, is_chief)


def create_strategy(options: TrainerOptions, task: Task):
    """The MultiWorkerMirroredStrategy of this process; call before any other use of TensorFlow.

    TensorFlow waits for the whole cluster here. Where it has not appeared after
    `options.cluster_timeout` seconds, this process ends with exit status 1 and a line that names
    the addresses that do not answer.
    """
    import tensorflow as tf

    implementation = tf.distribute.experimental.CommunicationImplementation
    collective = tf.distribute.experimental.CommunicationOptions(
        implementation=getattr(implementation, options.collective.upper())
    )
    with _deadline(options.cluster_timeout, task):
        return tf.distribute.MultiWorkerMirroredStrategy(communication_options=collective)


@contextlib.contextmanager
def _deadline(seconds: float, task: Task):
    """Ends the process where the body takes longer; TensorFlow cannot be interrupted there."""

    def give_up():
        text = f"The training cluster did not come together within {seconds} s "
        text += "(trainer.cluster_timeout). "
        silent = [address for address in _addresses() if not _answers(address)]
        text += f"No answer from: {', '.join(silent) or 'nobody; all listen, one does not join'}."
        _log.error(text)
        print(text, file=sys.stderr, flush=True)
        os._exit(1)

    if task.workers == 1:
        yield
        return
    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _addresses() -> list[str]:
    members = json.loads(os.environ["TF_CONFIG"])["cluster"]
    return [address for kind in TRAINING_TASKS for address in members.get(kind, ())]


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2):
            return True
    except OSError:
        return False
