"""`scripts/setup.sh`: which Python a system gets, and what is said where there is none."""

import os
import re
import shutil
import subprocess

import pytest

from pipeline import doctor
from tests.conftest import REPOSITORY


@pytest.fixture
def checkout(tmp_path):
    """What the script reads, with an interpreter of every version that says its own name."""
    for name in (
        "scripts/setup.sh",
        "setup.py",
        "requirements/py310.txt",
        "requirements/py312.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    return tmp_path


def tool(folder, name, script):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def setup(checkout, system="Linux x86_64", glibc="2.41", pythons=(), **environment):
    """Runs the script on a system as given; uv and the interpreters only say that they ran."""
    tools = checkout / "tools"
    tool(tools, "uname", f"echo {system}")
    tool(tools, "getconf", f"echo glibc {glibc}" if glibc else "exit 1")
    tool(tools, "uv", 'echo "uv $@"; [ "$1" != venv ] || mkdir -p .venv')
    for version in ("3.10", "3.12", "3.13"):
        own = f'case "$2" in *"!= \'{version}\'"*|*Python.h*) exit 0;; esac; exit 1'
        tool(tools, f"python{version}", own if version in pythons else "exit 1")
    return subprocess.run(
        ["bash", "scripts/setup.sh"],
        cwd=checkout,
        env={"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(checkout), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("system", "glibc", "pythons", "chosen"),
    [
        ("Linux x86_64", "2.41", ["3.10", "3.12", "3.13"], "3.12"),
        ("Linux x86_64", "2.41", ["3.10", "3.13"], "3.13"),
        ("Linux x86_64", "2.39", ["3.10"], "3.10"),
        ("Linux x86_64", "2.36", ["3.10", "3.12", "3.13"], "3.10"),
        ("Darwin arm64", "", ["3.13"], "3.13"),
    ],
)
def test_a_system_gets_the_newest_lane_that_it_can_have(checkout, system, glibc, pythons, chosen):
    done = setup(checkout, system, glibc, pythons)
    assert done.returncode == 0, done.stderr
    version = tuple(map(int, glibc.split("."))) if glibc else None
    supported = doctor.supported_pythons(*system.split(), version)
    assert chosen == next(python for python in supported if python in pythons), "as the doctor says"
    lock = "py310" if chosen == "3.10" else "py312"
    assert f"uv venv --quiet --clear --python {checkout}/tools/python{chosen}" in done.stdout
    assert f"--require-hashes --compile-bytecode requirements/{lock}.txt" in done.stdout


def test_a_python_that_is_asked_for_is_taken_and_kept(checkout):
    asked = setup(checkout, pythons=["3.10", "3.12"], PYTHON="3.10")
    assert "tools/python3.10 .venv" in asked.stdout
    assert setup(checkout, pythons=["3.10", "3.12"]).stdout == "", "it is ready"
    again = setup(checkout, pythons=["3.10", "3.12"], PYTHON="3.12")
    assert "tools/python3.12 .venv" in again.stdout


@pytest.mark.parametrize(("glibc", "version"), [("2.41", "3.12"), ("2.36", "3.10")])
def test_uv_is_asked_for_the_first_choice_where_there_is_no_python(checkout, glibc, version):
    assert f"uv python install {version}" in setup(checkout, glibc=glibc).stdout


@pytest.mark.parametrize(
    ("system", "glibc", "python", "words"),
    [
        ("Linux aarch64", "2.41", "", "Linux aarch64 is not supported.*container"),
        ("MINGW64_NT-10.0 x86_64", "", "", "is not supported.*WSL 2"),
        ("Linux x86_64", "", "", "no glibc.*container of Debian or Ubuntu"),
        ("Linux x86_64", "2.41", "3.9", "PYTHON=3.9 is not supported. Choose 3.10, 3.12 or 3.13"),
        ("Linux x86_64", "2.36", "3.13", "PYTHON=3.13 does not run here .glibc 2.36"),
        ("Darwin arm64", "", "3.10", "PYTHON=3.10 does not run here"),
    ],
)
def test_what_cannot_be_set_up_is_told_with_the_way_out(checkout, system, glibc, python, words):
    done = setup(checkout, system, glibc, PYTHON=python)
    assert done.returncode == 1 and done.stdout == ""

    assert re.search(words, " ".join(done.stderr.split())), done.stderr
