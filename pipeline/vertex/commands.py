"""The commands of `runner_dataflow.py`. Each returns an exit status."""

import contextlib
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.storage import files
from pipeline import placement
from pipeline.cloud import bucket, dataflow, resources
from pipeline.cloud.errors import CloudError
from pipeline.config.gate import Override
from pipeline.config.schema import Config
from pipeline.push.target import PushError
from pipeline.push.targets import make_target
from pipeline.run import conversion, local_run
from pipeline.run.console import Console
from pipeline.run.ingest import DataSource
from pipeline.run.local_run import Exit
from pipeline.run.run_folder import RootError, RunFolder, locked_root
from pipeline.vertex import cost, cron, plan, preflight, runs, status
from pipeline.vertex.preflight import PreflightError

SPEC = "pipeline.json"
_POLL_S = 30
_ID = re.compile(r"[a-z0-9][a-z0-9-]*")


def show_plan(config: Config, source: DataSource | None) -> Exit:
    """Prints what a run uses and costs; the only request reads the bucket."""
    preflight.check(config).raise_errors()
    try:
        bucket_text = bucket.check(resources.cloud_section(config))
    except CloudError as error:
        bucket_text = f"not checked: {error}"
    print(plan.describe(config, bucket_text, _converts(config, source)))
    print("\nnothing was sent")
    return Exit.DONE


def compile_spec(
    config: Config, source: DataSource, output: Path, override: Override | None = None
) -> Exit:
    """Writes the spec to `output`; converts the photos first if that has not been done."""
    _check(config, source)
    if not output.parent.is_dir() or not os.access(output.parent, os.W_OK):
        raise PreflightError(f"cannot write {output}: {output.parent} is not a writable folder")
    with _locked_folder(config) as folder, _console(folder) as console:
        if _converts(config, source):
            usd = cost.conversion_bound(config).usd
            console.text(f"the conversion on Dataflow costs at most {usd:,.2f} USD")
        _compile(config, source, folder, console, output, override=override)
        console.text(f"wrote {output}")
    return Exit.DONE


def submit(
    config: Config,
    source: DataSource,
    *,
    budget: float | None = None,
    expression: str | None = None,
    wait: bool = False,
    override: Override | None = None,
) -> Exit:
    """Starts a run, or creates a schedule that starts runs.

    Args:
        config: with `cloud`.
        source: photos or records.
        budget: upper bound of a run's cost in USD; a run that may cost more is not started.
        expression: cron expression of the schedule; None starts one run now.
        wait: wait until the run has ended, and print each task that completes.
        override: blesses the model even if the quality gate refuses it.
    """
    _check(config, source)
    if expression and (problem := cron.find_error(expression)):
        raise PreflightError(f"--schedule {expression!r}: {problem}")
    bound = cost.upper_bound(config, _converts(config, source))
    _check_budget(bound, budget)
    bucket.check(resources.cloud_section(config))
    with _locked_folder(config) as folder, _console(folder) as console:
        spec = folder.path / SPEC
        cache_nonce = make_target(config.push, placement.serving(config)).preflight()
        _compile(config, source, folder, console, spec, cache_nonce, override)
        console.text(f"  spec      {spec}")
        if expression:
            created = runs.schedule(config, spec, expression)
            url = runs.console_url(config, created)
            console.text(f"schedule {created} created: {expression}\n  {url}")
            return Exit.DONE
        run = runs.submit(config, spec)
        console.text(f"run {run} started\n  {plan.describe_cost(bound)}")
        console.text(f"  {runs.console_url(config, run)}")
    if not wait:
        return Exit.DONE
    with _console(folder) as console:  # outside the lock: other runs can use the root
        return _wait(config, run, console)


def beam(
    config: Config,
    source: DataSource,
    verbose: bool,
    override: Override | None = None,
    budget: float | None = None,
) -> Exit:
    """Orchestrates a run on this machine: metadata in the root, artifacts in the bucket."""
    _check(config, source)
    _check_budget(cost.upper_bound(config, _converts(config, source), tasks=False), budget)
    if resources.cloud_section(config).dataflow:
        dataflow.warn_of_version_mismatch()
    bucket.check(resources.cloud_section(config))
    return local_run.run(source, config, verbose, override)


def show_status(config: Config, run: str) -> Exit:
    """Prints the status of a run."""
    _check_id(run)
    found = status.read(config, runs.get(config, run))
    print(found.text())
    return _exit_status(found)


def cancel(config: Config, run: str) -> Exit:
    """Cancels a run and its jobs, or deletes a schedule."""
    _check_id(run)
    print("\n".join(runs.cancel(config, run)))
    return Exit.DONE


def run_command(command: Callable[..., Exit], *arguments: Any, **options: Any) -> Exit:
    """Calls a command of this module; prints an error instead of raising it."""
    try:
        return command(*arguments, **options)
    except (PreflightError, DataError, PushError, RootError) as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.USAGE
    except CloudError as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.FAILED
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return Exit.FAILED


@contextlib.contextmanager
def _locked_folder(config: Config) -> Iterator[RunFolder]:
    """A new run folder, while the root is locked."""
    root = Path(config.root)
    with locked_root(root):
        yield RunFolder(root)


@contextlib.contextmanager
def _console(folder: RunFolder) -> Iterator[Console]:
    """The terminal; what libraries print goes to the run's log."""
    try:
        with Console(folder.log) as console:
            yield console
    except (DataError, PushError, CloudError):
        raise
    except Exception as error:
        with folder.log.open("a") as log:
            traceback.print_exception(error, file=log)
        raise CloudError(f"{error}\n  full log: {folder.log}") from error


def _compile(
    config: Config,
    source: DataSource,
    folder: RunFolder,
    console: Console,
    output: Path,
    cache_nonce: str = "",
    override: Override | None = None,
) -> None:
    ingested = local_run.ingest_for(source, config, folder, console)
    config = config.with_records(ingested.records)
    folder.write_config(config)
    # Imports TFX, which takes seconds: only after all checks.
    from pipeline.vertex import compiled

    started = time.monotonic()
    job = compiled.compile_pipeline(config, cache_nonce, override)
    compiled.write(job, output)
    tasks = len(job["pipelineSpec"]["root"]["dag"]["tasks"])
    console.line("compiled", f"{tasks} tasks", time.monotonic() - started)


def _wait(config: Config, run: str, console: Console) -> Exit:
    """Prints each task that completes until the run has ended."""
    reported: set[str] = set()
    try:
        while True:
            found = status.read(config, runs.get(config, run))
            for task in found.tasks:
                if task.state not in ("waiting", "running") and task.name not in reported:
                    reported.add(task.name)
                    console.line(task.name, task.state, task.seconds)
            if found.has_ended:
                console.text("\n".join([found.head(), *found.ending()]))
                return _exit_status(found)
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        raise CloudError(
            f"interrupted: the run {run} continues; `status {run}` shows its status, "
            f"`cancel {run}` cancels it"
        ) from None


def _check(config: Config, source: DataSource) -> None:
    """Raises errors that need no request to Google Cloud."""
    preflight.check(config).raise_errors()
    if source.kind == "tfrecords":
        conversion.check_records(source.path)


def _check_budget(bound: cost.CostBound, budget: float | None) -> None:
    if budget is None:
        return
    if bound.unlimited:
        raise PreflightError(
            f"--budget cannot be enforced; nothing was sent: {plan.describe_cost(bound)}"
        )
    if bound.usd > budget:
        raise PreflightError(
            f"a run may cost up to {bound.usd:,.2f} USD, above the budget of {budget:,.2f} USD; "
            "nothing was sent. `plan` lists the costs; lower timeout_h, max_workers or the pools, "
            "or raise --budget"
        )


def _check_id(run: str) -> None:
    if not _ID.fullmatch(run):
        raise PreflightError(f"{run!r} is not a run id; expected e.g. pawprint-20260101000000")


def _converts(config: Config, source: DataSource | None) -> bool:
    """Whether Dataflow converts the source first; a CSV is assumed to list photos on `gs://`."""
    cloud = resources.cloud_section(config)
    if source is None or source.kind == "tfrecords" or cloud.dataflow is None:
        return False
    return source.kind == "csv" or files.is_remote(source.path)


def _exit_status(found: status.RunStatus) -> Exit:
    if found.state in ("failed", "cancelled"):
        return Exit.FAILED
    if found.state == "succeeded" and not found.pushed:
        return Exit.REFUSED
    return Exit.DONE
