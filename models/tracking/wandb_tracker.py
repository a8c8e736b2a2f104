"""Logs a training to Weights & Biases without blocking it or failing it.

A background thread runs W&B offline: it writes the run's files to disk and connects to no server.
With mode `online`, a separate process uploads the files after the training, see
`models.tracking.wandb_upload`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from models import files
from models.options import Options
from models.tracking.run_id import training_run_id
from models.tracking.wandb_records import records

_log = logging.getLogger("pawprint")
_FINISH_SECONDS = 30
_WRITE_SECONDS = 10
_REMOTE_UPLOAD_SECONDS = 30


@contextlib.contextmanager
def tracking(config: Options, model_run_dir: str) -> Generator[Tracker | None, None, None]:
    """Yields the tracker of a training, or None if W&B is disabled; finishes the run on exit.

    Args:
        config: all settings of the training, which become the run's config.
        model_run_dir: parent of the folder `wandb/` with the run's files. Files of a remote folder
            are written to this machine first.
    """
    if config.wandb.mode == "disabled":
        yield None
        return
    tracker = Tracker(config, model_run_dir)
    try:
        yield tracker
    except BaseException:
        tracker.finish(failed=True)
        tracker.clean()
        raise
    tracker.finish()
    tracker.wait_for_upload()
    tracker.clean()


class Tracker:
    """The W&B run of one training. Its methods do not raise and do not wait for a server.

    Args:
        config: all settings of the training.
        model_run_dir: see `tracking`.
    """

    def __init__(self, config: Options, model_run_dir: str):
        self._config, self._model_run_dir = config, model_run_dir.rstrip("/")
        self.run_id = training_run_id(config.store, model_run_dir)
        self._is_remote = "://" in model_run_dir
        self._jobs: queue.SimpleQueue[Callable[[Any], None] | None] = queue.SimpleQueue()
        self._folder = self._scratch = ""
        self._failed = self._finished = False
        self._upload: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[Any], None]) -> None:
        """Queues a call of `job` with the W&B run. Its errors are logged as warnings."""
        self._jobs.put(job)

    def finish(self, failed: bool = False) -> None:
        """Closes the run and, with mode `online`, starts its upload. A second call is a no-op."""
        if self._finished:
            return
        self._finished, self._failed = True, failed
        self._jobs.put(None)
        self._thread.join(_FINISH_SECONDS)
        if self._thread.is_alive():
            _log.warning("W&B is not done after %d s: its run stays incomplete", _FINISH_SECONDS)
        elif self._folder:
            _log_errors(self._publish)

    def wait_for_upload(self) -> None:
        """Waits up to 30 s for the upload of a remote run: the machine may end with the process."""
        if self._upload and self._is_remote:
            left = self._upload_began + _REMOTE_UPLOAD_SECONDS - time.monotonic()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._upload.wait(max(0.0, left))
            _log_errors(self._copy)

    def clean(self) -> None:
        """Removes the local files of a remote run, unless an unfinished upload needs them."""
        needed = self._upload is not None and self._upload.poll() != 0
        if self._scratch and not needed:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _work(self) -> None:
        run = None
        try:
            run = self._start()
            self._folder = os.path.dirname(run.dir)
        except Exception as error:
            _log.warning("this training is not logged to W&B: %s", error)
        while job := self._jobs.get():
            if run:
                _log_errors(job, run)
        if run:
            _log_errors(run.finish, int(self._failed))
            _log_errors(_wait_until_written, self._folder)

    def _start(self) -> Any:
        import wandb

        folder = tempfile.mkdtemp(prefix="wandb-") if self._is_remote else self._model_run_dir
        os.makedirs(folder, exist_ok=True)
        settings = wandb.Settings(
            console="off",
            disable_git=True,
            save_code=False,
            silent=True,
            init_timeout=30,
            x_disable_stats=True,
            x_disable_meta=True,
        )
        options = self._config.wandb
        return wandb.init(
            project=options.project,
            entity=options.entity,
            id=self.run_id,
            dir=folder,
            mode="offline",
            config=dataclasses.asdict(self._config),
            # The lineage mirror, which adds to this run, uses the same job type.
            job_type="Trainer",
            settings=settings,
        )

    def _publish(self) -> None:
        """Copies the files of a remote run and, with mode `online`, starts the upload."""
        if self._is_remote:
            self._copy()
        options = self._config.wandb
        if options.mode != "online":
            return
        log = f"{os.path.dirname(self._folder)}/upload.log"
        command = [sys.executable, "-m", "models.tracking.wandb_upload", self._folder, self.run_id]
        command += ["--project", options.project, "--deadline", str(options.upload_timeout)]
        command += ["--entity", options.entity] if options.entity else []
        with open(log, "ab") as output:
            self._upload = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Outlives this process.
            )
        self._upload_began = time.monotonic()
        _log.info("W&B: the run is being uploaded, see %s", log)

    def _copy(self) -> None:
        parent = os.path.dirname(self._folder)
        files.copy(parent, f"{self._model_run_dir}/{os.path.basename(parent)}")
        self._scratch = os.path.dirname(parent)  # May be removed, now that it is copied.


def _wait_until_written(folder: str) -> None:
    """Waits until the run's last record is on disk, which `Run.finish` does not."""
    deadline = time.monotonic() + _WRITE_SECONDS
    while time.monotonic() < deadline:
        if any(record.HasField("exit") for record in records(folder)):
            return
        time.sleep(0.05)
    raise TimeoutError(f"the last record of the run in {folder} is missing")


def _log_errors(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        function(*arguments)
    except Exception as error:
        _log.warning("W&B's run of this training is incomplete: %s", error)
