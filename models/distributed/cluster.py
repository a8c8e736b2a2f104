"""The training cluster: who this process is, by TF_CONFIG, and the strategy that spans it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping

from models.distributed import rendezvous, watchdog
from models.options import TrainerOptions

_CHIEF, _WORKER, _EVALUATOR = "chief", "worker", "evaluator"
_MASTER = "master"
_LOST = "A process of the training cluster was lost"
_ABORTED = "Collective ops is aborted by"


@dataclasses.dataclass(frozen=True)
class Task:
    """This process's place in the cluster; one alone is worker 0 of 1, and its chief."""

    kind: str = "worker"
    index: int = 0
    workers: int = 1
    """Processes that train together: the chief and the workers."""
    is_chief: bool = True
    addresses: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """`host:port` of the processes that train together, by kind; empty for one alone."""

    @property
    def rank(self) -> int:
        """This process's number among those that train together, the chief's being 0."""
        return self.index + (len(self.addresses.get(_CHIEF, ())) if self.kind == _WORKER else 0)

    @property
    def trains(self) -> bool:
        """Whether this process takes part in training; an evaluator does not."""
        return self.kind != _EVALUATOR


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
    cluster, task = dict(config.get("cluster") or {}), config.get("task") or {}
    if not cluster:
        return Task()
    kind, index = task.get("type"), int(task.get("index", 0))
    if kind not in cluster or index >= len(cluster[kind]):
        sizes = {name: len(addresses) for name, addresses in cluster.items()}
        raise ValueError(
            f"TF_CONFIG names the task {kind!r} {index}, which its cluster lacks: {sizes}."
        )
    if _MASTER in cluster:  # The older name of the same thing, which TensorFlow itself dropped.
        cluster[_CHIEF] = cluster.pop(_MASTER)
        kind = _CHIEF if kind == _MASTER else kind
    if unknown := sorted(set(cluster) - {_CHIEF, _WORKER, _EVALUATOR}):
        raise ValueError(
            f"TF_CONFIG has tasks of the kinds {unknown}, which mirrored training does not use. "
            f"Allowed: {_CHIEF} (or {_MASTER}), {_WORKER}, {_EVALUATOR}."
        )
    members = {name: tuple(cluster[name]) for name in (_CHIEF, _WORKER) if cluster.get(name)}
    workers = sum(map(len, members.values()))
    if kind == _EVALUATOR:
        return Task(kind, index, workers, is_chief=False)
    # Without a chief the first worker does its work, as TensorFlow has it.
    is_chief = kind == _CHIEF or (_CHIEF not in members and index == 0)
    return Task(kind, index, workers, is_chief, members if workers > 1 else {})


def create_strategy(task: Task, options: TrainerOptions):
    """The MultiWorkerMirroredStrategy of this process; call before any other use of TensorFlow.

    Where a process is lost once all had come, and before TensorFlow has connected them, this one is
    killed after another `options.cluster_timeout` seconds, with the reason on standard error:
    TensorFlow itself waits on, and lets no Python run meanwhile.

    Raises:
        rendezvous.ClusterError: not all processes came within `options.cluster_timeout` seconds, or
            this one's address is taken.
    """
    if not task.addresses:
        return _strategy(task, options)
    names = {
        f"{kind} {index}": address
        for kind, addresses in task.addresses.items()
        for index, address in enumerate(addresses)
    }
    leader = next(iter(names))
    rendezvous.meet(names, f"{task.kind} {task.index}", leader, options.cluster_timeout)
    lost = (
        f"{_LOST}; this is {task.kind} {task.index} of {task.workers} processes. All had come, but "
        f"TensorFlow did not connect them within {options.cluster_timeout} s. Start all of them "
        "again."
    )
    with watchdog.limit(options.cluster_timeout, lost):
        return _strategy(task, options)


def _strategy(task: Task, options: TrainerOptions):
    import tensorflow as tf

    implementation = tf.distribute.experimental.CommunicationImplementation
    collective = tf.distribute.experimental.CommunicationOptions(
        implementation=getattr(implementation, options.collective.upper())
    )
    # TensorFlow's own reading of TF_CONFIG would wait for an evaluator too.
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({kind: list(hosts) for kind, hosts in task.addresses.items()}),
        task_type=task.kind if task.addresses else None,
        task_id=task.index if task.addresses else None,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )
    return tf.distribute.MultiWorkerMirroredStrategy(resolver, collective)


@contextlib.contextmanager
def losses_explained(task: Task) -> Iterator[None]:
    """Turns TensorFlow's error about a lost process of the cluster into one that says so.

    Raises:
        rendezvous.ClusterError: a process of the cluster went away.
    """
    import tensorflow as tf

    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    ) as error:
        if task.workers == 1:
            raise
        # Where in the graph it happened comes first, and tells nothing.
        lines = error.message.splitlines()
        reason = next((line for line in lines if _ABORTED in line), lines[0]).strip()
        raise rendezvous.ClusterError(
            f"{_LOST}; this is {task.kind} {task.index} of {task.workers} processes. Start all of "
            "them again: the training goes on after its last complete epoch. TensorFlow says: "
            f"{reason}"
        ) from error
