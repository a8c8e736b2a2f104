"""The training cluster: who this process is, from TF_CONFIG, and the strategy that spans it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping

from models.options import TrainerOptions


@dataclasses.dataclass(frozen=True)
class Task:
    """This process's place in the cluster; one alone is worker 0 of 1, and its chief."""

    kind: str = "worker"
    index: int = 0
    workers: int = 1
    """Processes that train together: the chief and the workers."""
    is_chief: bool = True


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


def create_strategy(options: TrainerOptions):
    """The MultiWorkerMirroredStrategy of this process; call before any other use of TensorFlow."""
    import tensorflow as tf

    implementation = tf.distribute.experimental.CommunicationImplementation
    collective = tf.distribute.experimental.CommunicationOptions(
        implementation=getattr(implementation, options.collective.upper())
    )
    return tf.distribute.MultiWorkerMirroredStrategy(communication_options=collective)
