"""The commands of `runner_dataflow.py`. Each returns an exit status."""

import contextlib
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from data.errors import DataError
from pipeline import local_run
from pipeline.cloud import bucket, conversion, cost, placement, plan, preflight, status, vertex
from pipeline.cloud.errors import CloudError
from pipeline.config import Config
from pipeline.console import Console
from pipeline.gate.options import Forced
from pipeline.ingest import Source, ingest
from pipeline.local_run import Exit
from pipeline.push.target import PushError
from pipeline.push.targets import make_target
from pipeline.run_folder import RootError, RunFolder, locked_root

SPEC = "pipeline.json"
_POLL_S = 30


def show_plan(config: Config, source: Source | None) -> Exit:
    """Prints what a run would use and cost; sends nothing but a question about the bucket."""
    preflight.check(config).raise_errors()
    try:
        known = bucket.check(config.cloud)
    except CloudError as error:
        known = f"not checked: {error}"
    print(plan.text(config, known, _converts(source)))
    print("\nnothing was sent")
    return Exit.PUSHED


def compile_spec(
    config: Config, source: Source, output: Path, forced: Forced | None = None
) -> Exit:
    """Writes the spec; the photos are converted before, if the source has not been."""
    _check(config, source)
    with _run(config) as (folder, console):
        _compile(config, source, folder, console, output, forced=forced)
        console.text(f"wrote {output}")
    return Exit.PUSHED


def submit(
    config: Config,
    source: Source,
    *,
    budget: float | None = None,
    cron: str | None = None,
    wait: bool = False,
    forced: Forced | None = None,
) -> Exit:
    """Starts a run, or has it started by a schedule.

    Args:
      config: with `cloud`.
      source: photos or records.
      budget: USD that one run may cost at most.
      cron: when Vertex AI shall start runs of these records; None starts one now.
      wait: stay until the run is over, and tell of each task.
      forced: a blessing against the bounds of gate 1.
    """
    _check(config, source)
    bound = cost.upper_bound(config, _converts(source))
    if budget is not None and bound.usd > budget:
        raise preflight.PreflightError(
            f"a run may cost up to {bound.usd:,.2f} USD, above the budget of {budget:,.2f} USD; "
            "nothing was sent. `plan` shows for what; lower timeout_h, max_workers or the pools, "
            "or raise --budget"
        )
    bucket.check(config.cloud)
    with _run(config) as (folder, console):
        spec = folder.path / SPEC
        present = make_target(config.push, placement.serving(config)).preflight()
        _compile(config, source, folder, console, spec, present, forced)
        console.text(f"  spec      {spec}")
        if cron:
            made = vertex.schedule(config, spec, cron)
            console.text(f"schedule {made} made: {cron}\n  {vertex.page(config, made)}")
            return Exit.PUSHED
        run = vertex.submit(config, spec)
        console.text(f"run {run} started; it costs at most {bound.usd:,.2f} USD")
        console.text(f"  {vertex.page(config, run)}")
        return _wait(config, run, console) if wait else Exit.PUSHED


def beam(config: Config, source: Source, verbose: bool, forced: Forced | None = None) -> Exit:
    """Runs the pipeline from here: metadata on this machine, artifacts in the bucket."""
    _check(config, source)
    bucket.check(config.cloud)
    return local_run.run(source, config, verbose, forced)


def show_status(config: Config, run: str) -> Exit:
    """Prints how a run stands."""
    found = status.read(config, vertex.get(config, run))
    print(found.text())
    return _exit_status(found)


def cancel(config: Config, run: str) -> Exit:
    """Cancels a run or deletes a schedule."""
    print(vertex.cancel(config, run))
    return Exit.PUSHED


def guarded(command, *arguments, **options) -> Exit:
    """Runs a command; what went wrong is told in words."""
    try:
        return command(*arguments, **options)
    except (preflight.PreflightError, DataError, PushError, RootError) as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.USAGE
    except CloudError as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.FAILED


@contextlib.contextmanager
def _run(config: Config) -> Iterator[tuple[RunFolder, Console]]:
    """The folder of a run, and the terminal while libraries print to its log."""
    root = Path(config.root)
    with locked_root(root):
        folder = RunFolder(root)
        try:
            with Console(folder.log) as console:
                yield folder, console
        except (DataError, PushError, CloudError):
            raise
        except Exception as error:
            with folder.log.open("a") as log:
                traceback.print_exception(error, file=log)
            raise CloudError(f"{error}\n  the whole story: {folder.log}") from error


def _compile(
    config: Config,
    source: Source,
    folder: RunFolder,
    console: Console,
    output: Path,
    present: str = "",
    forced: Forced | None = None,
) -> None:
    ingested = ingest(
        source, config, lambda done, total: console.progress(done, total, "img", "convert")
    )
    folder.write_discarded(ingested.discarded)
    count = sum(sum(labels.values()) for labels in ingested.records.counts.values())
    console.line("records", f"{count} in {ingested.records.path}")
    config = config.model_copy(update={"records": ingested.records})
    folder.write_config(config)
    # TFX takes seconds to import: only now, when everything else has been checked.
    from pipeline.cloud import compiled

    started = time.monotonic()
    job = compiled.compile_pipeline(config, present, forced)
    compiled.write(job, output)
    tasks = len(job["pipelineSpec"]["root"]["dag"]["tasks"])
    console.line("compiled", f"{tasks} tasks", time.monotonic() - started)


def _wait(config: Config, run: str, console: Console) -> Exit:
    told: set[str] = set()
    while True:
        found = status.read(config, vertex.get(config, run))
        for task in found.tasks:
            if task.state not in ("waiting", "running") and task.name not in told:
                told.add(task.name)
                console.line(task.name, task.state, task.seconds)
        if found.is_over:
            console.text("\n".join([found.head(), *found.ending()]))
            return _exit_status(found)
        time.sleep(_POLL_S)


def _check(config: Config, source: Source) -> None:
    """Raises what can be known to be wrong without asking Google Cloud."""
    preflight.check(config).raise_errors()
    if source.kind == "tfrecords":
        conversion.check_records(source.path)


def _converts(source: Source | None) -> bool:
    return source is not None and source.kind != "tfrecords"


def _exit_status(found: status.Status) -> Exit:
    if found.state in ("failed", "cancelled"):
        return Exit.FAILED
    if found.state == "succeeded" and not found.pushed:
        return Exit.REFUSED
    return Exit.PUSHED
