"""Environments that hold the locked requirements, what a test adds, and nothing of the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
_INSTALL = ("install", "--quiet", "--no-index", "--no-build-isolation", "--no-cache-dir")
_PYTHON = Path(sys.base_prefix, "bin", "python3")


def locked_environment(folder: Path, packages: Sequence[Path] = ()) -> Path:
    """Makes a virtual environment; returns its Python.

    It links to the installed packages of this process's own environment, which are the locked ones,
    but for the project. The packages are installed as `pip install` does, but may fetch nothing.

    Args:
        folder: To make it in.
        packages: Source distributions and wheels.

    Raises:
        subprocess.CalledProcessError: pip did not install a package.
    """
    subprocess.run([_PYTHON, "-m", "venv", "--without-pip", folder], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "pawprint" not in path.name and path.name != "__pycache__":
            (site / path.name).symlink_to(path)
    python = folder / "bin" / "python"
    if packages:
        subprocess.run(
            [_PYTHON, "-m", "pip", "--isolated", "--python", python, *_INSTALL, *packages],
            # Where pip sees the repository it finds an egg-info there, and installs nothing.
            cwd=folder,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
            check=True,
            capture_output=True,
            text=True,
        )
    return python


def project_wheel(folder: Path) -> Path:
    """Builds the project's wheel in a new folder, from a copy of the source."""
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "tests", "build", "dist", "demo", "runs")
    shutil.copytree(REPOSITORY, source, ignore=ignored)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", folder],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    return wheel
