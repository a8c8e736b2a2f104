"""Weights & Biases, as a witness that can neither stop, hold up nor slow a training.

All of W&B happens in a thread of its own, which writes the run's files to disk and talks to no
server; the training hands it what to log and goes on. With mode `online` a process that outlives
the training uploads the files, see `models.tracking.wandb_upload`.
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
from collections.abc import Callable, Iterator
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
def tracking(config: Options, model_run_dir: str) -> Iterator[Tracker | None]:
    """The W&B run of a training; None where W&B is disabled.

    Args:
        config: all settings of the training, which the run records.
        model_run_dir: folder whose `wandb/` takes the files of the run; where it is remote they
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
    """One training's run. No method raises, and none waits for a server.

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
        self._upload: subprocess.Popen | None = None
        self._thread = threading.Thread(target=self._work, name="wandb", daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[Any], None]) -> None:
        """Has `job` called with W&B's run, in the order of the calls; its errors are warnings."""
        self._jobs.put(job)

    def finish(self, failed: bool = False) -> None:
        """Closes the run and, with mode `online`, starts its upload. A second call does nothing."""
        if self._finished:
            return
        self._finished, self._failed = True, failed
        self._jobs.put(None)
        self._thread.join(_FINISH_SECONDS)
        if self._thread.is_alive():
            _log.warning("W&B is not done after %d s: its run is left as it is", _FINISH_SECONDS)
        elif self._folder:
            _guarded(self._keep)

    def wait_for_upload(self) -> None:
        """Where the machine may go away with this process, gives the upload its half a minute."""
        if self._upload and self._is_remote:
            left = self._upload_began + _REMOTE_UPLOAD_SECONDS - time.monotonic()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._upload.wait(max(0.0, left))
            _guarded(self._copy)

    def clean(self) -> None:
        """Removes this machine's files of a remote run, unless an upload has need of them still."""
        needed = self._upload is not None and self._upload.poll() != 0
        if self._scratch and not needed:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _work(self) -> None:
        run = None
        try:
            run = self._start()
            self._folder = os.path.dirname(run.dir)
        except Exception as error:
            _log.warning("W&B is left out of this training: %s", error)
        while job := self._jobs.get():
            if run:
                _guarded(job, run)
        if run:
            _guarded(run.finish, int(self._failed))
            _guarded(_wait_until_written, self._folder)

    def _start(self):
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
            # The mirror of the lineage, which joins this run, calls it by its node too.
            job_type="Trainer",
            settings=settings,
        )

    def _keep(self) -> None:
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
                start_new_session=True,  # It outlives this process.
            )
        self._upload_began = time.monotonic()
        _log.info("W&B: the run is being uploaded, see %s", log)

    def _copy(self) -> None:
        parent = os.path.dirname(self._folder)
        files.copy(parent, f"{self._model_run_dir}/{os.path.basename(parent)}")
        self._scratch = os.path.dirname(parent)  # There is a copy of it now.


def _wait_until_written(folder: str) -> None:
    """Returns once the run's last record is on disk, which `Run.finish` does not wait for."""
    deadline = time.monotonic() + _WRITE_SECONDS
    while time.monotonic() < deadline:
        if any(record.HasField("exit") for record in records(folder)):
            return
        time.sleep(0.05)
    raise TimeoutError(f"the end of the run in {folder} is not on disk")


def _guarded(function: Callable, *arguments) -> None:
    try:
        function(*arguments)
    except Exception as error:
        _log.warning("W&B misses a part of this training: %s", error)
