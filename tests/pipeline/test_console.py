import logging
import os
import subprocess
import sys

import pytest

from pipeline.console import Console


@pytest.fixture
def console(tmp_path):
    return Console(tmp_path / "run.log")


def test_only_lines_reach_the_terminal(capfd, tmp_path, console):
    with console:
        console.line("Trainer", "2 epochs", seconds=1.25)
        print("printed by a library")
        os.write(2, b"written by C++\n")
        logging.getLogger("tfx").warning("logged by a library")
    print("after the run")
    out, err = capfd.readouterr()
    assert out == "  Trainer              1.2 s  2 epochs\nafter the run\n"
    assert err == ""
    log = (tmp_path / "run.log").read_text()
    for text in ("printed by a library", "written by C++", "logged by a library", "2 epochs"):
        assert text in log


def test_notes_of_the_product_reach_the_terminal(capfd, console):
    with console:
        logging.getLogger("pawprint.data").warning("3 photos were turned")
    assert "3 photos were turned" in capfd.readouterr().out


def test_progress_draws_nothing_off_a_terminal(capfd, console):
    with console:
        for done in range(3):
            console.progress(done, 2, "img", "convert")
    assert capfd.readouterr().out == ""


def test_progress_draws_a_bar_with_a_rate_on_a_terminal(tmp_path):
    script = f"""
import logging, time
from pathlib import Path
from pipeline.console import Console
with Console(Path({str(tmp_path / "log")!r})) as console:
    progress = logging.getLogger("pawprint.progress")
    for done in (0, 20, 40):
        time.sleep(0.15)
        progress.info("training: epoch 1 of 2",
                      extra={{"progress": {{"done": done, "total": 40, "unit": "img"}}}})
    console.line("Trainer", "done")
"""
    import pty

    shown = bytearray()

    def read(descriptor):
        chunk = os.read(descriptor, 4096)
        shown.extend(chunk)
        return chunk

    status = pty.spawn([sys.executable, "-c", script], read)
    text = shown.decode()
    assert status == 0, text
    assert "training" in text and "img/s" in text and "epoch 1 of 2" in text
    assert "Trainer" in text.splitlines()[-1]


def test_verbose_shows_and_logs_everything(tmp_path):
    script = f"""
from pathlib import Path
from pipeline.console import Console
with Console(Path({str(tmp_path / "log")!r}), verbose=True) as console:
    print("printed by a library")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "printed by a library" in done.stdout
    assert "printed by a library" in (tmp_path / "log").read_text()
