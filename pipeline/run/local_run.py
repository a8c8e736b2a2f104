"""Runs the pipeline on this machine, from photos to a pushed or refused model."""

from __future__ import annotations

import dataclasses
import enum
import gc
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.errors import DataError
from pipeline import placement
from pipeline.config.gate import Override
from pipeline.config.schema import Config, RunConfig
from pipeline.lineage.automatic import mirror_after_run
from pipeline.push.target import PushError
from pipeline.push.targets import make_target
from pipeline.run.console import INTERRUPTED, Console
from pipeline.run.ingest import DataSource, Ingested, ingest
from pipeline.run.run_folder import RootError, RunFolder, error_text, locked_root

if TYPE_CHECKING:
    from pipeline.run.dag_runner import NodeReport
    from pipeline.run.summary import PushedVersion

_FEW = 10


class Exit(enum.IntEnum):
    """Exit status of a run."""

    PUSHED = 0
    DONE = 0  # for commands that do not push
    FAILED = 1
    USAGE = 2
    REFUSED = 3


def run(
    source: DataSource, config: Config, verbose: bool = False, override: Override | None = None
) -> Exit:
    """Runs the pipeline on a data source and prints the result.

    Args:
        source: photos, an Image CSV or TFRecords.
        config: the config, without records.
        verbose: show the output of libraries too.
        override: blesses the model even if the quality gate refuses it.

    Returns:
        The exit status.

    Example:
        >>> config = load_config("conf/local.yaml", ["trainer.epochs=3"])
        >>> run(DataSource("images", "photos"), config)
        <Exit.PUSHED: 0>
    """
    root = Path(config.root)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # handle SIGTERM like Ctrl-C
    try:
        with locked_root(root, source.path if source.kind == "images" else None):
            folder = RunFolder(root)
            with Console(folder.log, verbose) as console:
                return _LocalRun(source, config, folder, console, override).execute()
    except RootError as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.USAGE


@dataclasses.dataclass(frozen=True)
class _LocalRun:
    """One run in a locked root folder, with a console that is open."""

    source: DataSource
    config: Config
    folder: RunFolder
    console: Console
    override: Override | None
    started: float = dataclasses.field(default_factory=time.monotonic)

    def execute(self) -> Exit:
        """Runs all steps; prints the error if one fails."""
        try:
            self.console.text(f"pawprint run {self.folder.run_id}, log {self.folder.log}")
            target = make_target(self.config.push, placement.serving(self.config))
            cache_nonce = target.preflight()
            ingested = ingest_for(self.source, self.config, self.folder, self.console)
            config = self.config.with_records(ingested.records)
            self.folder.write_config(config)
            self._import_libraries()
            reports, failure = self._run_components(config, ingested, cache_nonce)
            status = self._report(config, ingested, reports, failure)
            # Last, so that an error of W&B cannot affect the run.
            if config.lineage.mirror and config.wandb.mode != "disabled":
                self.console.text(f"  lineage   {mirror_after_run(config, self.folder.log)}")
            return status
        except PushError as error:
            self.console.text(f"\nerror: push: {error}")
            return Exit.USAGE
        except DataError as error:
            self.console.text(f"\nerror: {error}")
            if error.discarded:
                self.console.text(f"  files skipped so far: {self.folder.discarded}")
            return Exit.USAGE
        except KeyboardInterrupt:
            self.console.text(f"\nerror: {INTERRUPTED}")
            self._cancel_jobs()
            return Exit.FAILED
        except Exception as error:
            logging.getLogger(__name__).exception("the run failed")
            self._print_error(error)
            return Exit.FAILED

    def _import_libraries(self) -> None:
        """Imports TFX and TensorFlow, which takes seconds: only after all checks."""
        started = time.monotonic()
        # The imports allocate a million permanent objects; scanning them repeatedly would take
        # another second.
        gc.disable()
        import pipeline.pipeline
        import pipeline.run.dag_runner  # noqa: F401

        gc.freeze()
        gc.enable()
        self.console.line("libraries", "TFX and TensorFlow loaded", time.monotonic() - started)

    def _run_components(
        self, config: RunConfig, ingested: Ingested, cache_nonce: str
    ) -> tuple[list[NodeReport], Exception | None]:
        """Runs the pipeline; returns the reports of its nodes and the error if one failed."""
        from pipeline.metadata.reader import sqlite_store
        from pipeline.pipeline import create_pipeline
        from pipeline.run import stored_models
        from pipeline.run.component_summary import describe
        from pipeline.run.dag_runner import LocalDagRunner
        from pipeline.run.photo_recorder import PhotoRecorder

        store = sqlite_store(str(placement.metadata_file(config)))
        stored_models.fail_unfinished(store)
        serving = placement.serving(config)
        for line in stored_models.repair_models(store, Path(config.root), serving):
            self.console.line("models", line)
        recorder = PhotoRecorder(store, config.name, self.folder.run_id)
        recorder.record(self.source, ingested)
        reports: list[NodeReport] = []

        def on_node_end(report: NodeReport) -> None:
            reports.append(report)
            if report.node_id == "ImportExampleGen":
                recorder.link(ingested)
            seconds = None if report.state == "cached" else report.seconds
            self.console.line(report.node_id, describe(report, config), seconds)

        try:
            pipeline = create_pipeline(config, cache_nonce, self.override)
            pipeline = placement.name_jobs(config, pipeline)
            LocalDagRunner(self.folder.run_id, on_node_end).run(pipeline)
        except Exception as error:
            logging.getLogger(__name__).exception("the pipeline failed")
            stored_models.fail_unfinished(store)
            return reports, error
        return reports, None

    def _report(
        self,
        config: RunConfig,
        ingested: Ingested,
        reports: list[NodeReport],
        error: Exception | None,
    ) -> Exit:
        """Writes the summary and prints the result of the pipeline."""
        from pipeline.run.summary import Outcome, summarise

        outcome = Outcome(reports)
        pushed = outcome.pushed()
        status = Exit.FAILED if error else Exit.PUSHED if pushed else Exit.REFUSED
        summary = summarise(
            run_id=self.folder.run_id,
            status=status.name.lower(),
            exit_status=int(status),
            seconds=time.monotonic() - self.started,
            source=self.source,
            config=config,
            ingested=ingested,
            reports=reports,
        )
        try:
            self.folder.write_summary(summary)
        except OSError as unwritable:
            if error is None:
                raise
            self.console.text(f"\nthe summary could not be written: {unwritable}")
        if error:
            self._report_failure(outcome.failure, error)
        else:
            self._report_result(summary, pushed)
        return status

    def _report_failure(self, failure: NodeReport | None, error: Exception) -> None:
        from pipeline.run.dag_runner import Interrupted

        if failure and failure.error:
            error = failure.error
            self._print_error(error, f"{failure.node_id} failed: ")
        else:
            self._print_error(error)
        if isinstance(error, Interrupted):
            self._cancel_jobs()

    def _report_result(self, summary: dict[str, Any], pushed: PushedVersion | None) -> None:
        from pipeline.gate.verdict_table import verdict_table

        self.console.text("\n" + verdict_table(summary["gates"]))
        seconds = f"{summary['seconds']:.0f} s"
        if pushed:
            self.console.text(f"\nPushed version {pushed.version} in {seconds}.")
            self.console.text(f"  model     {pushed.destination}")
        else:
            self.console.text(f"\nRefused in {seconds}: nothing was pushed.")
        self.console.text(f"  report    {self.folder.summary}")
        self.console.text(f"  metadata  {placement.metadata_file(self.config)}")

    def _print_error(self, error: Exception, prefix: str = "") -> None:
        text = error_text(error, Path(self.config.root))
        self.console.text(f"\nerror: {prefix}{text}\n  full log: {self.folder.log}")

    def _cancel_jobs(self) -> None:
        """Cancels the jobs on Google Cloud that the interrupted run has started."""
        if self.config.cloud is None:
            return
        from pipeline.cloud import jobs
        from pipeline.cloud.errors import CloudError

        try:
            for line in jobs.cancel(self.config, f"{self.config.name}-{self.folder.run_id}"):
                self.console.text(f"  {line}")
        except CloudError as error:
            self.console.text(f"  jobs of the run may still be running: {error}")


def ingest_for(source: DataSource, config: Config, folder: RunFolder, console: Console) -> Ingested:
    """Calls `ingest` for a run; prints the number of records and lists skipped files.

    Raises:
        DataError: photos, rows or records are invalid.
        CloudError: Dataflow did not convert the photos.
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
    if warning := few_photos_warning(counts["train"], ingested.records.labels):
        console.line("", warning)
    return ingested


def few_photos_warning(train: dict[str, int], labels: Sequence[str]) -> str:
    """Returns a warning that lists the labels with few training photos; "" without any."""
    few = {label: train.get(label, 0) for label in labels if train.get(label, 0) < _FEW}
    if not few:
        return ""
    named = ", ".join(f"{label} {n}" for label, n in sorted(few.items(), key=lambda item: item[1]))
    return f"warning: few photos for training ({named}); at least {_FEW} per label are recommended"
