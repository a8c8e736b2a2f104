"""The terminal of a run, seen from a process of its own."""

import os
import pty
import subprocess
import sys

PROLOGUE = """
import logging, os, sys, time
from pathlib import Path
from pipeline.run.console import Console
console = Console(Path(sys.argv[1]), verbose={verbose})
"""


def run(body: str, log, verbose=False, **options):
    script = PROLOGUE.format(verbose=verbose) + body
    return subprocess.run(
        [sys.executable, "-c", script, str(log)], text=True, timeout=60, check=True, **options
    )


def test_only_lines_reach_the_terminal(tmp_path):
    body = """
with console:
    console.line("Trainer", "2 epochs", seconds=1.25)
    print("printed by a library")
    os.write(2, b"written by C++\\n")
    logging.getLogger("tfx").warning("logged by a library")
    logging.getLogger("pawprint.data").warning("3 photos were turned")
    for done in range(3):
        console.progress(done, 2, "img", "convert")
print("after the run")
"""
    shown = run(body, tmp_path / "log", capture_output=True)
    assert shown.stdout.splitlines() == [
        "  Trainer              1.2 s  2 epochs",
        "                              3 photos were turned",
        "after the run",
    ]
    assert shown.stderr == ""
    log = (tmp_path / "log").read_text()
    for text in ("printed by a library", "written by C++", "logged by a library", "2 epochs"):
        assert text in log


def test_progress_draws_a_bar_with_a_rate_on_a_terminal(tmp_path):
    body = """
with console:
    progress = logging.getLogger("pawprint.progress")
    for done in (0, 20, 40):
        time.sleep(0.15)
        progress.info("training: epoch 1 of 2",
                      extra={"progress": {"done": done, "total": 40, "unit": "img"}})
    console.line("Trainer", "done")
"""
    ours, theirs = pty.openpty()
    run(body, tmp_path / "log", stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "training" in shown and "img/s" in shown and "epoch 1 of 2" in shown
    assert "Trainer" in shown.splitlines()[-1]


def test_verbose_shows_and_logs_everything(tmp_path):
    body = """
with console:
    print("printed by a library", flush=True)
"""
    shown = run(body, tmp_path / "log", verbose=True, capture_output=True)
    assert "printed by a library" in shown.stdout
    assert "printed by a library" in (tmp_path / "log").read_text()


def test_a_closed_terminal_leaves_the_log(tmp_path):
    body = """
with console:
    for number in range(3):
        console.line("Trainer", f"line {number}")
        time.sleep(0.2)
    console.text("the end")
"""
    script = PROLOGUE.format(verbose=False) + body
    command = [sys.executable, "-c", script, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 0, process.stderr.read()
    log = (tmp_path / "log").read_text()
    assert "line 2" in log and "the terminal is closed" in log


def test_names_that_are_not_utf8_are_escaped(tmp_path):
    body = r"""
with console:
    console.line("photos", "skipped caf\udce9.jpg")
"""
    shown = run(body, tmp_path / "log", capture_output=True)
    assert "caf\\udce9.jpg" in shown.stdout and "caf\\udce9.jpg" in (tmp_path / "log").read_text()
