"""The commands of `runner_dataflow.py`. Each returns an exit status."""

import contextlib
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from data.errors import DataError
from data.storage import files
from pipeline import placement
from pipeline.cloud import bucket, dataflow
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
    """Prints what a run would use and cost; sends nothing but a question about the bucket."""
    preflight.check(config).raise_errors()
    try:
        known = bucket.check(config.cloud)
    except CloudError as error:
        known = f"not checked: {error}"
    print(plan.text(config, known, _converts(config, source)))
    print("\nnothing was sent")
    return Exit.DONE


def compile_spec(
    config: Config, source: DataSource, output: Path, override: Override | None = None
) -> Exit:
    """Writes the spec; the photos are converted before, if the source has not been."""
    _check(config, source)
    if not output.parent.is_dir() or not os.access(output.parent, os.W_OK):
        raise PreflightError(f"cannot write {output}: {output.parent} is no folder to write to")
    with _folder(config) as folder, _console(folder) as console:
        if _converts(config, source):
            most = cost.conversion_bound(config).usd
            console.text(f"the conversion on Dataflow costs at most {most:,.2f} USD")
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
    """Starts a run, or has it started by a schedule.

    Args:
        config: with `cloud`.
        source: photos or records.
        budget: USD that one run may cost at most.
        expression: of cron, when Vertex AI shall start runs of these records; None starts one now.
        wait: stay until the run is over, and tell of each task.
        override: a blessing against the bounds of gate 1.
    """
    _check(config, source)
    if expression and (wrong := cron.wrong_with(expression)):
        raise PreflightError(f"--schedule {expression!r}: {wrong}")
    bound = cost.upper_bound(config, _converts(config, source))
    _check_budget(bound, budget)
    bucket.check(config.cloud)
    with _folder(config) as folder, _console(folder) as console:
        spec = folder.path / SPEC
        cache_nonce = make_target(config.push, placement.serving(config)).preflight()
        _compile(config, source, folder, console, spec, cache_nonce, override)
        console.text(f"  spec      {spec}")
        if expression:
            made = runs.schedule(config, spec, expression)
            console.text(f"schedule {made} made: {expression}\n  {runs.page(config, made)}")
            return Exit.DONE
        run = runs.submit(config, spec)
        console.text(f"run {run} started\n  {plan.describe_cost(bound)}")
        console.text(f"  {runs.page(config, run)}")
    if not wait:
        return Exit.DONE
    with _console(folder) as console:  # the root is free for other runs
        return _wait(config, run, console)


def beam(
    config: Config,
    source: DataSource,
    verbose: bool,
    override: Override | None = None,
    budget: float | None = None,
) -> Exit:
    """Runs the pipeline from here: metadata on this machine, artifacts in the bucket."""
    _check(config, source)
    _check_budget(cost.upper_bound(config, _converts(config, source), tasks=False), budget)
    if config.cloud.dataflow:
        dataflow.warn_of_version_mismatch()
    bucket.check(config.cloud)
    return local_run.run(source, config, verbose, override)


def show_status(config: Config, run: str) -> Exit:
    """Prints how a run stands."""
    _check_id(run)
    found = status.read(config, runs.get(config, run))
    print(found.text())
    return _exit_status(found)


def cancel(config: Config, run: str) -> Exit:
    """Cancels a run and its jobs, or deletes a schedule."""
    _check_id(run)
    print("\n".join(runs.cancel(config, run)))
    return Exit.DONE


def guarded(command, *arguments, **options) -> Exit:
    """Runs a command; what went wrong is told in words."""
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
def _folder(config: Config) -> Iterator[RunFolder]:
    """The folder of a run, while no other works in the root."""
    root = Path(config.root)
    with locked_root(root):
        yield RunFolder(root)


@contextlib.contextmanager
def _console(folder: RunFolder) -> Iterator[Console]:
    """The terminal, while libraries print to the log of a run."""
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
    config = config.model_copy(update={"records": ingested.records})
    folder.write_config(config)
    # TFX takes seconds to import: only now, when everything else has been checked.
    from pipeline.vertex import compiled

    started = time.monotonic()
    job = compiled.compile_pipeline(config, cache_nonce, override)
    compiled.write(job, output)
    tasks = len(job["pipelineSpec"]["root"]["dag"]["tasks"])
    console.line("compiled", f"{tasks} tasks", time.monotonic() - started)


def _wait(config: Config, run: str, console: Console) -> Exit:
    told: set[str] = set()
    try:
        while True:
            found = status.read(config, runs.get(config, run))
            for task in found.tasks:
                if task.state not in ("waiting", "running") and task.name not in told:
                    told.add(task.name)
                    console.line(task.name, task.state, task.seconds)
            if found.is_over:
                console.text("\n".join([found.head(), *found.ending()]))
                return _exit_status(found)
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        raise CloudError(
            f"interrupted: the run {run} goes on; `status {run}` tells how it stands, "
            f"`cancel {run}` ends it"
        ) from None


def _check(config: Config, source: DataSource) -> None:
    """Raises what can be known to be wrong without asking Google Cloud."""
    preflight.check(config).raise_errors()
    if source.kind == "tfrecords":
        conversion.check_records(source.path)


def _check_budget(bound: cost.Bound, budget: float | None) -> None:
    if budget is None:
        return
    if bound.unlimited:
        raise PreflightError(
            f"no budget can be held, and nothing was sent: {plan.describe_cost(bound)}"
        )
    if bound.usd > budget:
        raise PreflightError(
            f"a run may cost up to {bound.usd:,.2f} USD, above the budget of {budget:,.2f} USD; "
            "nothing was sent. `plan` shows for what; lower timeout_h, max_workers or the pools, "
            "or raise --budget"
        )


def _check_id(run: str) -> None:
    if not _ID.fullmatch(run):
        raise PreflightError(f"{run!r} is no id of a run, such as pawprint-20260101000000")


def _converts(config: Config, source: DataSource | None) -> bool:
    """Whether Dataflow converts the source first; a table is taken to be of photos on `gs://`."""
    if source is None or source.kind == "tfrecords" or config.cloud.dataflow is None:
        return False
    return source.kind == "csv" or files.is_remote(source.path)


def _exit_status(found: status.Status) -> Exit:
    if found.state in ("failed", "cancelled"):
        return Exit.FAILED
    if found.state == "succeeded" and not found.pushed:
        return Exit.REFUSED
    return Exit.DONE
