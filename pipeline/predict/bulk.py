"""Bulk prediction: labels a folder of photos with the served model and writes a CSV file."""

import collections
import logging
import signal
import sys
import time
from pathlib import Path

from data.errors import DataError
from pipeline import placement
from pipeline.artifacts.label_file import read_labels
from pipeline.config.schema import Config
from pipeline.metadata.pushed_models import PushedModel, push_of, pushed_models
from pipeline.predict.photo_folder import UnlabelledRecords, convert_folder, list_folder
from pipeline.push.target import PushError
from pipeline.push.targets import make_target
from pipeline.run.console import Console
from pipeline.run.local_run import Exit
from pipeline.run.run_folder import RootError, RunFolder, locked_root

RESULT = "predictions.csv"


class NoModelError(Exception):
    """No model is available. The message says what to do."""


def predict_folder(photos: str, config: Config, verbose: bool = False) -> int:
    """Predicts every photo below a folder and prints a summary.

    Args:
        photos: Folder of photos, at any depth.
        config: Config of the root whose served model is used.
        verbose: Whether to print the output of libraries.

    Returns:
        Exit status: 0; 2 if there is no model or no photo; 1 for other errors.

    Example:
        >>> from pipeline.config.files import load_config
        >>> predict_folder("photos", load_config(None, ["root=runs"]))
    """
    root = Path(config.root)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # handled like Ctrl-C
    try:
        model = latest_model(config)
        paths = list_folder(photos)
        with locked_root(root, photos):
            folder = RunFolder(root)
            with Console(folder.log, verbose) as console:
                return _run(paths, model, config, folder, console)
    except (NoModelError, RootError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.USAGE


def latest_model(config: Config) -> PushedModel:
    """Returns the model that the push target serves; after a rollback, an earlier one.

    Raises:
        NoModelError: No model was pushed, it was deleted, or the target is unreachable.
    """
    file = placement.metadata_file(config)
    pushes: list[PushedModel] = []
    if file.is_file():
        from pipeline.metadata.reader import sqlite_store

        pushes = pushed_models(sqlite_store(str(file)))
    if not pushes:
        raise NoModelError(
            f"no model was pushed in {config.root}; "
            f"train one first: python runner_local.py --images PHOTOS --root {config.root}"
        )
    try:
        status = make_target(config.push, placement.serving(config)).status()
    except PushError as error:
        raise NoModelError(str(error)) from None
    served = next((v.destination for v in status.versions if v.state == "served"), None)
    if served is None:
        raise NoModelError(f"{status.destination} serves no version")
    if config.push.target == "folder":
        chosen = push_of(Path(served), pushes)
    else:
        chosen = next((push for push in reversed(pushes) if push.destination == served), None)
    if chosen is None:
        raise NoModelError(f"{served} was not pushed by a run of {config.root}; train again")
    if not (chosen.saved_model / "saved_model.pb").is_file():
        raise NoModelError(
            f"the model of version {chosen.version} was deleted from {chosen.model_uri}; "
            "train again"
        )
    return chosen


def _run(
    paths: list[str], model: PushedModel, config: Config, folder: RunFolder, console: Console
) -> int:
    started = time.monotonic()
    try:
        console.text(f"pawprint prediction {folder.run_id}, log {folder.log}")
        console.line("model", f"version {model.version}, pushed by run {model.run_id}")
        converted = convert_folder(
            paths, config.root, lambda done, total: console.progress(done, total, "img", "convert")
        )
        folder.write_discarded(converted.discarded)
        text = f"{converted.count} records"
        if converted.discarded:
            text += f"; {len(converted.discarded)} skipped, see {folder.discarded}"
        console.line("photos", text, None if converted.cached else time.monotonic() - started)
        folder.write_config(config)
        result = _infer(converted, model, config, folder, console)
    except DataError as error:
        folder.write_discarded(error.discarded)
        console.text(f"\nerror: {error}")
        return Exit.USAGE
    except KeyboardInterrupt:
        console.text("\nerror: interrupted; run the same command again")
        return Exit.FAILED
    except Exception as error:
        logging.getLogger(__name__).exception("the prediction failed")
        console.text(f"\nerror: {error}\n  full log: {folder.log}")
        return Exit.FAILED
    counts = collections.Counter(result)
    summary = ", ".join(f"{label} {count}" for label, count in counts.most_common())
    console.text(
        f"\nPredicted {len(result)} photos in {time.monotonic() - started:.0f} s: {summary}"
    )
    console.text(f"  result    {folder.path / RESULT}")
    if converted.discarded:
        console.text(f"  skipped   {folder.discarded}")
    return 0


def _infer(
    photos: UnlabelledRecords,
    model: PushedModel,
    config: Config,
    folder: RunFolder,
    console: Console,
) -> list[str]:
    """Runs the pipeline, writes the CSV file and returns the predicted labels."""
    loading = time.monotonic()
    # Imported after the checks: TFX and TensorFlow take seconds to import.
    from pipeline.predict.bulk_pipeline import INFERENCE, create_prediction_pipeline
    from pipeline.predict.results import write_predictions
    from pipeline.run.dag_runner import LocalDagRunner, NodeReport

    console.line("libraries", "TFX and TensorFlow loaded", time.monotonic() - loading)
    reports: dict[str, NodeReport] = {}

    def listener(report: NodeReport) -> None:
        reports[report.node_id] = report
        seconds = None if report.state == "cached" else report.seconds
        console.line(report.node_id, report.state, seconds)

    pipeline = create_prediction_pipeline(config, photos, model.model_uri)
    LocalDagRunner(folder.run_id, listener).run(pipeline)
    execution = reports[INFERENCE].execution
    assert execution is not None  # the run succeeded
    (inferred,) = execution.outputs["inference_result"]
    labels = read_labels(model.saved_model)
    return write_predictions(inferred.uri, photos.paths, labels, folder.path / RESULT)
