"""The graph of a pipeline spec's tasks."""

from __future__ import annotations


def upstream(task) -> set[str]:
    """The tasks that a task waits for."""
    produced = {
        given.task_output_artifact.producer_task for given in task.inputs.artifacts.values()
    }
    return {*task.dependent_tasks, *produced}


def in_order(tasks) -> list[str]:
    """The names of tasks, each after those that it waits for."""
    done: list[str] = []
    left = sorted(tasks)
    while left:
        ready = next(name for name in left if upstream(tasks[name]) <= set(done))
        left.remove(ready)
        done.append(ready)
    return done
