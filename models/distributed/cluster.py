"""The training cluster: this process's task in TF_CONFIG, and the cluster's strategy."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from models.distributed import rendezvous, watchdog
from models.options import TrainerOptions

if TYPE_CHECKING:
    import tensorflow as tf

_CHIEF, _WORKER, _EVALUATOR = "chief", "worker", "evaluator"
_MASTER = "master"
_LOST = "A process of the training cluster was lost"
_ABORTED = "Collective ops is aborted by"


@dataclasses.dataclass(frozen=True)
class ClusterTask:
    """This process's task in the cluster. A single process is worker 0 of 1 and the chief."""

    kind: str = "worker"
    index: int = 0
    workers: int = 1
    """Number of processes that train, the chief included."""
    is_chief: bool = True
    addresses: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """`host:port` of the processes that train, by kind; empty for a single process."""

    @property
    def rank(self) -> int:
        """Index of this process among those that train; the chief has rank 0."""
        return self.index + (len(self.addresses.get(_CHIEF, ())) if self.kind == _WORKER else 0)

    @property
    def trains(self) -> bool:
        """Whether this process trains; an evaluator does not."""
        return self.kind != _EVALUATOR


def read_task(environment: Mapping[str, str] = os.environ) -> ClusterTask:
    """Reads this process's task from TF_CONFIG, as Vertex AI and TensorFlow define it.

    Args:
        environment: environment variables.

    Returns:
        The task; that of a single process if TF_CONFIG is missing or has no cluster.

    Raises:
        ValueError: TF_CONFIG is not JSON, or its task is not in its cluster.

    Example:

    ```python
    import json
    from models.distributed import cluster

    tf_config = {
        "cluster": {"chief": ["host-a:2222"], "worker": ["host-b:2222"]},
        "task": {"type": "worker", "index": 0},
    }
    task = cluster.read_task({"TF_CONFIG": json.dumps(tf_config)})
    assert (task.rank, task.workers, task.is_chief) == (1, 2, False)
    ```
    """
    text = environment.get("TF_CONFIG", "").strip()
    if not text:
        return ClusterTask()
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"TF_CONFIG is not valid JSON ({error}). Received: {text!r}.") from None
    cluster, task = dict(config.get("cluster") or {}), config.get("task") or {}
    if not cluster:
        return ClusterTask()
    kind: Any = task.get("type")
    index = int(task.get("index", 0))
    if kind not in cluster or index >= len(cluster[kind]):
        sizes = {name: len(addresses) for name, addresses in cluster.items()}
        raise ValueError(
            f"TF_CONFIG names the task {kind!r} {index}, which its cluster lacks: {sizes}."
        )
    if _MASTER in cluster:  # The former name of the chief, which TensorFlow no longer accepts.
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
        return ClusterTask(kind, index, workers, is_chief=False)
    # As in TensorFlow, worker 0 is the chief of a cluster without one.
    is_chief = kind == _CHIEF or (_CHIEF not in members and index == 0)
    return ClusterTask(kind, index, workers, is_chief, members if workers > 1 else {})


def create_strategy(
    task: ClusterTask, options: TrainerOptions
) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Creates the strategy of this process; call before any other use of TensorFlow.

    If a process is lost after the rendezvous and before TensorFlow has connected all processes,
    TensorFlow waits indefinitely and blocks Python. This process is then killed after another
    `options.cluster_timeout` seconds, with the reason on standard error.

    Args:
        task: this process's task.
        options: `collective` and `cluster_timeout`.

    Raises:
        rendezvous.ClusterError: A process did not connect within `options.cluster_timeout` seconds,
            or this process's address is in use.
    """
    if not task.addresses:
        return _strategy(task, options)
    names = {
        f"{kind} {index}": address
        for kind, addresses in task.addresses.items()
        for index, address in enumerate(addresses)
    }
    leader = next(iter(names))
    rendezvous.wait_for_all(names, f"{task.kind} {task.index}", leader, options.cluster_timeout)
    lost = (
        f"{_LOST}; this is {task.kind} {task.index} of {task.workers} processes. All processes had "
        f"started, but TensorFlow did not connect them within {options.cluster_timeout} s. Restart "
        "all processes."
    )
    with watchdog.limit(options.cluster_timeout, lost):
        return _strategy(task, options)


def _strategy(
    task: ClusterTask, options: TrainerOptions
) -> tf.distribute.MultiWorkerMirroredStrategy:
    import tensorflow as tf

    implementation = tf.distribute.experimental.CommunicationImplementation
    collective = tf.distribute.experimental.CommunicationOptions(
        implementation=getattr(implementation, options.collective.upper())
    )
    # TensorFlow's own resolver would also wait for an evaluator.
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({kind: list(hosts) for kind, hosts in task.addresses.items()}),
        task_type=task.kind if task.addresses else None,
        task_id=task.index if task.addresses else None,
        num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
        rpc_layer="grpc",
    )
    return tf.distribute.MultiWorkerMirroredStrategy(resolver, collective)


@contextlib.contextmanager
def translate_errors(task: ClusterTask) -> Iterator[None]:
    """Translates TensorFlow's errors about a lost process into `ClusterError`.

    Raises:
        rendezvous.ClusterError: A process of the cluster was lost.
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
        # The first lines of the message are positions in the graph.
        lines = error.message.splitlines()
        reason = next((line for line in lines if _ABORTED in line), lines[0]).strip()
        raise rendezvous.ClusterError(
            f"{_LOST}; this is {task.kind} {task.index} of {task.workers} processes. Restart all "
            "processes: the training resumes after its last complete epoch. TensorFlow reports: "
            f"{reason}"
        ) from error
