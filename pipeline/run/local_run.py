"""One run on this machine: photos in, a gated and pushed model or a clear refusal out."""

import enum
import gc
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from data.errors import DataError
from pipeline import placement
from pipeline.config.gate import Override
from pipeline.config.schema import Config
from pipeline.lineage.automatic import mirror_after_run
from pipeline.push.target import PushError
from pipeline.push.targets import make_target
from pipeline.run.console import Console
from pipeline.run.ingest import DataSource, Ingested, ingest
from pipeline.run.run_folder import RootError, RunFolder, explained, locked_root

_FEW = 10


class Exit(enum.IntEnum):
    """Exit status of a run."""

    PUSHED = 0
    DONE = 0  # of commands that push nothing
    FAILED = 1
    USAGE = 2
    REFUSED = 3


def run(
    source: DataSource, config: Config, verbose: bool = False, override: Override | None = None
) -> Exit:
    """Runs the pipeline on a source and tells the user, on the terminal, what came of it."""
    root = Path(config.root)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends a run as Ctrl-C does
    try:
        with locked_root(root, source.path if source.kind == "images" else None):
            folder = RunFolder(root)
            with Console(folder.log, verbose) as console:
                return _run(source, config, folder, console, override)
    except RootError as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.USAGE


def _run(source: DataSource, config: Config, folder: RunFolder, console: Console, override) -> Exit:
    started = time.monotonic()
    try:
        console.text(f"pawprint run {folder.run_id}, log {folder.log}")
        cache_nonce = make_target(config.push, placement.serving(config)).preflight()
        ingested = ingest_for(source, config, folder, console)
        config = config.model_copy(update={"records": ingested.records})
        folder.write_config(config)
        status = _run_pipeline(
            source, config, cache_nonce, ingested, folder, console, started, override
        )
        # After everything has been said: whatever W&B does, the run is over.
        if config.lineage.mirror and config.wandb.mode != "disabled":
            console.text(f"  lineage   {mirror_after_run(config, folder.log)}")
        return status
    except PushError as error:
        console.text(f"\nerror: push: {error}")
        return Exit.USAGE
    except DataError as error:
        console.text(f"\nerror: {error}")
        if error.discarded:
            console.text(f"  the files found so far: {folder.discarded}")
        return Exit.USAGE
    except KeyboardInterrupt:
        console.text("\nerror: interrupted; the same command resumes from the last completed step")
        _cancel_jobs(config, folder, console)
        return Exit.FAILED
    except Exception as error:
        logging.getLogger(__name__).exception("the run failed")
        text = explained(error, Path(config.root))
        console.text(f"\nerror: {text}\n  full log: {folder.log}")
        return Exit.FAILED


def ingest_for(source: DataSource, config: Config, folder: RunFolder, console: Console) -> Ingested:
    """`ingest` for a run: tells the user what was found, and lists the discards in its folder.

    Raises:
        DataError: photos, rows or records that cannot be used.
        CloudError: Dataflow did not convert them.
    """
    started = time.monotonic()
    try:
        ingested = ingest(
            source, config, lambda done, total: console.progress(done, total, "img", "convert")
        )
    except DataError as error:
        folder.write_discarded(error.discarded)
        raise
    folder.write_discarded(ingested.discarded)
    counts = ingested.records.counts
    by_label = {
        label: sum(split.get(label, 0) for split in counts.values())
        for label in ingested.records.labels
    }
    text = f"{sum(by_label.values())} records: " + ", ".join(
        f"{label} {n}" for label, n in sorted(by_label.items())
    )
    text += f" in {ingested.records.path}" if config.cloud else ""
    if ingested.discarded:
        text += f"; {len(ingested.discarded)} skipped, see {folder.discarded}"
    console.line("photos", text, None if ingested.cached else time.monotonic() - started)
    if few := few_photos_warning(ingested.records.counts["train"], ingested.records.labels):
        console.line("", few)
    return ingested


def few_photos_warning(train: dict[str, int], labels: Sequence[str]) -> str:
    """A warning that names the labels with few training photos; empty where there are none."""
    few = {label: train.get(label, 0) for label in labels if train.get(label, 0) < _FEW}
    if not few:
        return ""
    named = ", ".join(f"{label} {n}" for label, n in sorted(few.items(), key=lambda item: item[1]))
    return f"warning: few photos for training ({named}); {_FEW} or more a label are advised"


def _cancel_jobs(config: Config, folder: RunFolder, console: Console) -> None:
    """Cancels the jobs on Google Cloud that an interrupted run had started."""
    if config.cloud is None:
        return
    from pipeline.cloud import jobs
    from pipeline.cloud.errors import CloudError

    try:
        for line in jobs.cancel(config, f"{config.name}-{folder.run_id}"):
            console.text(f"  {line}")
    except CloudError as error:
        console.text(f"  jobs that it started may go on: {error}")


def _run_pipeline(
    source, config, cache_nonce, ingested, folder, console, started, override
) -> Exit:
    loading = time.monotonic()
    # TFX and TensorFlow take seconds to import: only now, when everything else has been checked.
    # Their million objects stay; searching them for garbage again and again takes another second.
    gc.disable()
    from pipeline.gate.verdict_table import verdict_table
    from pipeline.metadata.reader import sqlite_store
    from pipeline.pipeline import create_pipeline, metadata_file
    from pipeline.run import stored_models
    from pipeline.run.component_summary import describe
    from pipeline.run.dag_runner import Interrupted, LocalDagRunner, NodeReport
    from pipeline.run.photo_recorder import PhotoRecorder
    from pipeline.run.summary import Outcome, summarise

    gc.freeze()
    gc.enable()
    console.line("libraries", "TFX and TensorFlow loaded", time.monotonic() - loading)
    reports: list[NodeReport] = []

    def listener(report: NodeReport):
        reports.append(report)
        if report.node_id == "ImportExampleGen":
            recorder.link(ingested)
        seconds = None if report.state == "cached" else report.seconds
        console.line(report.node_id, describe(report, config), seconds)

    store = sqlite_store(str(metadata_file(config)))
    stored_models.fail_abandoned(store)
    for line in stored_models.repair_models(store, Path(config.root), placement.serving(config)):
        console.line("models", line)
    recorder = PhotoRecorder(store, config.name, folder.run_id)
    recorder.record(source, ingested)
    failed = None
    try:
        pipeline = placement.name_jobs(config, create_pipeline(config, cache_nonce, override))
        LocalDagRunner(folder.run_id, listener).run(pipeline)
    except Exception as error:
        logging.getLogger(__name__).exception("the pipeline failed")
        stored_models.fail_abandoned(store)
        failed = error
    outcome = Outcome(config, reports)
    pushed = outcome.pushed()
    exit_status = Exit.FAILED if failed else Exit.PUSHED if pushed else Exit.REFUSED
    summary = summarise(
        run_id=folder.run_id,
        status=exit_status.name.lower(),
        exit_status=int(exit_status),
        seconds=time.monotonic() - started,
        source=source,
        config=config,
        ingested=ingested,
        reports=reports,
    )
    try:
        folder.write_summary(summary)
    except OSError as error:
        if not failed:
            raise
        console.text(f"\nno summary could be written: {error}")  # the component's error is below

    if failed:
        error = outcome.failure.error if outcome.failure else failed
        where = f"{outcome.failure.node_id} failed: " if outcome.failure else ""
        text = explained(error, Path(config.root))
        console.text(f"\nerror: {where}{text}\n  full log: {folder.log}")
        if isinstance(error, Interrupted):
            _cancel_jobs(config, folder, console)
        return exit_status
    console.text("\n" + verdict_table(summary["gates"]))
    if pushed:
        console.text(f"\nPushed version {pushed[0]} in {summary['seconds']:.0f} s.")
        console.text(f"  model     {pushed[1]}")
    else:
        console.text(f"\nRefused in {summary['seconds']:.0f} s: nothing was pushed.")
    console.text(f"  report    {folder.summary}")
    console.text(f"  metadata  {metadata_file(config)}")
    return exit_status
