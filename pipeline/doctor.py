"""Checks whether this environment can run pawprint.

    python -m pipeline.doctor

Exit status: 0 no errors; 1 at least one error; 2 invalid arguments.

The checks import the project and its packages themselves, so that a missing package is reported as
a finding. Only `--deep` imports TensorFlow, TFX and Beam, in another process.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.config.cloud import CloudConfig
    from pipeline.config.schema import Config

# Packages whose versions must be compatible.
_PACKAGES = ["tfx", "tensorflow", "tf-keras", "apache-beam", "ml-metadata", "protobuf", "wandb"]
_PROJECT = Path(__file__).resolve().parent.parent
_LOCK = "requirements/py310.txt" if sys.version_info < (3, 11) else "requirements/py312.txt"
_SETUP = "Run `make setup`"
_PY312, _PY312_GLIBC = ("3.12", "3.13"), (2, 39)
_GIB = 1 << 30
# GiB below which to report an error and a warning: 400 to 4,000 photos take 1.9 GiB, 20,000 take
# 2.6 GiB (docs/training.md).
_MEMORY = (1.9, 2.6)
# Likewise: 400 photos take 0.12 GiB, cached features up to 1 GiB (docs/doctor.md).
_DISK = (0.5, 2)
_TIMEOUT_S = 300
_DEEP = """
import json, pipeline.pipeline, tensorflow as tf
print(json.dumps([tf.__version__, len(tf.config.list_physical_devices("GPU"))]))
"""


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of one check; one line of the report."""

    level: str
    """`ok`, `warning` or `error`."""
    check: str
    """Name of the check."""
    text: str
    """Result of the check."""
    remedy: str = ""
    """How to fix it; empty if there is nothing to fix or `text` says how."""

    def __str__(self) -> str:
        remedy = f". {self.remedy}" if self.remedy else ""
        return f"{self.level:<9}{self.check:<13}{self.text}{remedy}"


def supported_pythons(system: str, machine: str, glibc: tuple[int, ...] | None) -> tuple[str, ...]:
    """Lists the Python versions that the locked packages have builds for, as `scripts/setup.sh`.

    Args:
        system: result of `platform.system`.
        machine: result of `platform.machine`.
        glibc: version of the GNU C library; None for another C library.

    Returns:
        Versions such as `3.12`, the preferred one first; () if there are no builds for the system.
    """
    if (system, machine) == ("Darwin", "arm64"):
        return _PY312
    if (system, machine) != ("Linux", "x86_64") or glibc is None:
        return ()
    return (*_PY312, "3.10") if glibc >= _PY312_GLIBC else ("3.10",)


def locked_versions(lock: str) -> dict[str, str]:
    """Returns the version of each distribution in the text of a lock file."""
    return dict(re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^\s;]+)", lock, re.MULTILINE))


def _findings(arguments: argparse.Namespace) -> Iterator[Finding]:
    yield _python()
    yield from _packages()
    yield _compiler()
    yield from _gpus(arguments.deep)
    try:
        yield from _memory()
        yield from _configured(arguments)
    except ImportError as error:
        yield Finding("error", "packages", f"the remaining checks were skipped: {error}", _SETUP)


def _python() -> Finding:
    glibc = _glibc()
    system, version = platform.system(), "{}.{}".format(*sys.version_info)
    possible = supported_pythons(system, platform.machine(), glibc)
    libc = f"glibc {'.'.join(map(str, glibc))}" if glibc else "no glibc"
    text = f"Python {platform.python_version()}, {system} {platform.machine()}, {libc}"
    if not possible:
        remedy = "Use Linux x86_64 with glibc, WSL 2 or macOS on arm64"
        return Finding("error", "python", f"{text}: ml-metadata has no build for it", remedy)
    remedy = f"Run `PYTHON={possible[0]} make setup`"
    if version not in possible:
        return Finding("error", "python", f"{text}: TFX has no build for it", remedy)
    if version == "3.10" != possible[0]:
        return Finding("warning", "python", f"{text}: 3.10 gets no security fixes", remedy)
    return Finding("ok", "python", f"{text}: {_LOCK}")


def _glibc() -> tuple[int, ...] | None:
    """Returns the version of the GNU C library; None for another C library."""
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION") or ""
        return tuple(map(int, version.removeprefix("glibc ").split(".")))
    except (ValueError, OSError, AttributeError):  # macOS, musl
        return None


def _packages() -> Iterator[Finding]:
    lock = _PROJECT / _LOCK
    locked = locked_versions(lock.read_text()) if lock.exists() else {}  # wheels contain no locks
    matching = []
    for name in _PACKAGES:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding("error", "packages", f"{name} is not installed", _SETUP)
            continue
        if found == locked.get(name, found):
            matching.append(f"{name} {found}")
        else:
            text = f"{name} {found} is installed, {_LOCK} has {locked[name]}"
            yield Finding("warning", "packages", text, _SETUP)
    compared = f"as in {_LOCK}" if locked else "not compared: there is no lock file"
    if matching:
        yield Finding("ok", "packages", f"{', '.join(matching)}: {compared}")


def _compiler() -> Finding:
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return Finding("ok", "compiler", name)
    remedy = "Install one: `apt-get install g++` or `xcode-select --install`"
    return Finding("warning", "compiler", "no C++ compiler, which `make setup` needs", remedy)


def _gpus(deep: bool) -> Iterator[Finding]:
    gpus = [entry.name for entry in Path("/proc/driver/nvidia/gpus").glob("*")]
    if smi := shutil.which("nvidia-smi"):  # containers and WSL 2 have no such folder
        listed, failure = _run([smi, "--query-gpu=name", "--format=csv,noheader"])
        gpus = listed.splitlines() or gpus
        if failure:
            yield Finding("warning", "gpus", f"nvidia-smi: {failure}", "Check NVIDIA's driver")
    if not deep:
        more = "--deep checks whether TensorFlow sees them" if gpus else "training runs on CPUs"
        yield Finding("ok", "gpus", f"{', '.join(gpus) or 'none'}: {more}")
        return
    answer, failure = _run([sys.executable, "-c", _DEEP])
    if failure:
        yield Finding("error", "imports", f"the pipeline cannot be imported: {failure}", _SETUP)
        return
    version, seen = json.loads(answer.splitlines()[-1])
    yield Finding("ok", "imports", "the pipeline, with TFX, Beam and TensorFlow")
    level = "ok" if seen >= len(gpus) else "warning"
    remedy = f"Run `uv pip install 'tensorflow[and-cuda]=={version}'`" if level != "ok" else ""
    text = f"TensorFlow {version} sees {seen} GPUs, the driver {len(gpus)}"
    yield Finding(level, "gpus", text, remedy)


def _run(command: list[str]) -> tuple[str, str]:
    """Returns the output of a command and ""; if it fails, "" and the last line of its error."""
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=_PROJECT,
            env=environment,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    if done.returncode == 0:
        return done.stdout, ""
    lines = (done.stderr or done.stdout).strip().splitlines()
    return "", lines[-1] if lines else f"exit status {done.returncode}"


def _memory() -> Iterator[Finding]:
    from data.conversion.pool import cores
    from models.cache import free_memory

    yield Finding("ok", "cores", str(cores()))
    yield _check_free("memory", free_memory(), "free", _MEMORY, "Close other programs")


def _check_free(
    check: str, free: int, what: str, bounds: tuple[float, float], remedy: str
) -> Finding:
    """Compares free bytes with the bounds of an error and a warning in GiB."""
    text = f"{free / _GIB:.1f} GiB {what}"
    for level, bound in zip(("error", "warning"), bounds, strict=True):
        if free < bound * _GIB:
            return Finding(level, check, f"{text}, below {bound} GiB", remedy)
    return Finding("ok", check, text)


def _configured(arguments: argparse.Namespace) -> Iterator[Finding]:
    from pipeline.components import tfserving
    from pipeline.config.files import ConfigError, load_config

    try:
        config = load_config(arguments.config, arguments.set, arguments.root)
        tfserving.preflight(config)
    except ConfigError as error:
        yield Finding("error", "config", str(error))
        return
    yield Finding("ok", "config", arguments.config)
    if "://" not in config.root:
        yield from _root(Path(config.root))
    yield _weights(config, arguments.deep)
    if config.cloud:
        yield from _cloud(config, config.cloud)
    if config.wandb.mode == "online":
        yield _wandb()


def _root(root: Path) -> Iterator[Finding]:
    from pipeline.artifacts.names import METADATA_FILE
    from pipeline.run.run_folder import RootError, check_metadata

    path = root.absolute()
    existing = next(folder for folder in (path, *path.parents) if os.path.exists(folder))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Finding("error", "root", f"cannot write to {existing}", "Choose another --root")
        return
    free, remedy = shutil.disk_usage(existing).free, "Free space or choose another --root"
    yield _check_free("disk", free, f"free for {root}", _DISK, remedy)
    try:
        check_metadata(path / METADATA_FILE)
    except RootError as error:
        yield Finding("error", "root", str(error))


def _weights(config: Config, deep: bool) -> Finding:
    from models import registry
    from models.architectures import pretrained
    from pipeline.config.files import ConfigError
    from pipeline.run.model_preflight import preflight

    name, arguments = config.model.name, config.model.arguments
    given = str(arguments.get("weights"))
    # Downloading weights or reading them from a bucket imports TensorFlow.
    if not deep and (given == pretrained.IMAGENET or "://" in given):
        return Finding("ok", "weights", f"{name}: {given} is checked with --deep only")
    try:
        preflight(config, remote_training=config.cloud is not None)
    except ConfigError as error:
        return Finding("error", "weights", str(error))
    weights = registry.find_weights(name, arguments)
    return Finding("ok", "weights", f"{name}: {weights.name if weights else 'needs none'}")


def _cloud(config: Config, cloud: CloudConfig) -> Iterator[Finding]:
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")
    from pipeline.cloud import bucket, client, errors
    from pipeline.vertex import preflight

    for message in preflight.check(config).errors:
        yield Finding("error", "cloud", message)
    try:
        with errors.translate_errors(cloud, "log in"):
            client.login()
        yield Finding("ok", "credentials", "accepted")
        yield Finding("ok", "bucket", f"{cloud.address} {bucket.check(cloud)}")
    except errors.CloudError as error:
        yield Finding("error", "cloud", str(error))


def _wandb() -> Finding:
    from requests.utils import get_netrc_auth

    # Checks only whether a login exists; never prints it.
    if os.environ.get("WANDB_API_KEY"):
        return Finding("ok", "wandb", "WANDB_API_KEY is set")
    if get_netrc_auth(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")):
        return Finding("ok", "wandb", "netrc has a login")
    text = "wandb.mode is online and there is no login: runs would not be logged"
    return Finding("warning", "wandb", text, "Set WANDB_API_KEY or run `wandb login`")


def main(argv: list[str] | None = None) -> int:
    """Prints the findings; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.doctor",
        description="Checks whether this environment can run pawprint.",
    )
    add = parser.add_argument
    add("--config", type=os.path.expanduser, default="conf/local.yaml", help="%(default)s")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="as for runner_local.py")
    add("--root", help="folder of all runs and their models (default: runs)")
    add("--deep", action="store_true", help="import TFX and TensorFlow; may download weights")
    arguments = parser.parse_args(argv)
    levels = []
    for finding in _findings(arguments):
        print(finding, flush=True)
        levels.append(finding.level)
    print(f"errors: {levels.count('error')}, warnings: {levels.count('warning')}")
    return int("error" in levels)


if __name__ == "__main__":
    sys.exit(main())
