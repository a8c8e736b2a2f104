"""The worker image's steps, carried out for real in an empty Debian: no Docker daemon is needed.

What differs from `docker build`: the base is debootstrap's Debian with this machine's CPython 3.10
in /usr/local, where python:3.10-slim-bookworm has its own, and Beam's boot program is left out.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.docker.dockerfile import Builder, read, run_in

BASE = "python:3.10-slim-bookworm"
BEAM = "apache/beam_python3.10_sdk:2.74.0"
# What python:3.10-slim-bookworm has beside the interpreter itself.
LIBRARIES = (
    "ca-certificates,libbz2-1.0,libexpat1,libffi8,liblzma5,libncursesw6,libreadline8,libsqlite3-0,"
    "libssl3,libuuid1,zlib1g"
)
# How this machine reaches its package registries.
REGISTRY_FILES = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/pip.conf",
    "/etc/ssl/certs/ca-certificates.crt",
)
REGISTRY_VARIABLES = re.compile(r"(?i)(pip|uv|ssl|requests)_|.*_proxy$")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for chroot"),
    pytest.mark.skipif(not shutil.which("debootstrap"), reason="needs Debian's debootstrap"),
    pytest.mark.skipif(sys.base_prefix == "/usr", reason="needs a CPython in a prefix of its own"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A root file system like the base image's."""
    root = tmp_path_factory.mktemp("debian") / "root"
    command = ["debootstrap", "--variant=minbase", f"--include={LIBRARIES}", "bookworm", str(root)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:]
    python = Path(sys.base_prefix)
    for name in ("bin", "include", "lib"):
        ignore = shutil.ignore_patterns("site-packages", "__pycache__", "test", "config-3.10-*")
        target = root / "usr/local" / name
        shutil.copytree(python / name, target, symlinks=True, dirs_exist_ok=True, ignore=ignore)
    for step in (["/sbin/ldconfig"], ["/usr/local/bin/python3.10", "-m", "ensurepip"]):
        subprocess.run(["chroot", root, *step], capture_output=True, check=True)
    (root / "usr/local/bin/pip").unlink(missing_ok=True)
    (root / "usr/local/bin/pip").write_text(
        '#!/bin/sh\nexec /usr/local/bin/python3.10 -m pip "$@"\n'
    )
    (root / "usr/local/bin/pip").chmod(0o755)
    return root


@pytest.fixture(scope="module")
def image(base, tmp_path_factory):
    """The worker image: its folder, variables and user."""
    cache = Path(os.environ.get("UV_CACHE_DIR", Path.home() / ".cache/uv"))
    cache.mkdir(parents=True, exist_ok=True)
    links = [path for path in os.environ.get("PIP_FIND_LINKS", "").split() if path.startswith("/")]
    builder = Builder(
        {BASE: base},
        REPOSITORY,
        tmp_path_factory.mktemp("stages"),
        skipped=(BEAM,),
        prepare=_reach_registries,
        mounts={"/root/.cache/uv": str(cache)}
        | {path: path for path in links if os.path.isdir(path)},
        environment={k: v for k, v in os.environ.items() if REGISTRY_VARIABLES.match(k)},
    )
    built = builder.build(read(REPOSITORY / "docker/worker.Dockerfile"))
    assert builder.left_out == [f"COPY --from={BEAM}"]
    return built


def _reach_registries(root: Path) -> None:
    for name in REGISTRY_FILES:
        if os.path.exists(name):
            shutil.copy(name, root / name.lstrip("/"))
    for folder in ("apt.conf.d", "sources.list.d"):
        source = Path("/etc/apt") / folder
        if source.is_dir():
            shutil.copytree(source, root / "etc/apt" / folder, dirs_exist_ok=True)


def test_nothing_of_the_build_is_left(image):
    root, _, user = image
    assert user == "1000"
    for tool in ("g++", "gcc", "cc", "uv", "make"):
        assert not list(root.glob(f"usr/bin/{tool}")) and not list(
            root.glob(f"usr/local/bin/{tool}")
        )
    assert not (root / "src").exists()
    packages = root / "opt/pawprint/lib/python3.10/site-packages"
    assert (packages / "pipeline/pipeline.py").is_file()
    assert not list(packages.glob("__editable__*")) + list(packages.glob("runner_*"))
    gigabytes = int(subprocess.check_output(["du", "-sm", root]).split()[0]) / 1024
    print(f"worker image: {gigabytes:.2f} GB on disk")
    assert gigabytes < 4


def test_a_component_runs_there_with_nothing_else_on_the_path(image, pushed_run, tmp_path):
    root, environment, user = image
    pipeline = pushed_run.root / "pipeline"
    (examples,) = (pipeline / "ImportExampleGen/examples").iterdir()
    (schema,) = (pipeline / "RecordSchema/schema").iterdir()
    output = tmp_path / "output"
    output.mkdir()
    output.chmod(0o777)

    from tfx.types import artifact_utils, standard_artifacts

    def artifact(kind: str, uri: str):
        made = getattr(standard_artifacts, kind)()
        made.uri = uri
        if kind == "Examples":
            made.split_names = json.dumps(["train", "validation", "test"])
        return [made]

    inputs = {
        "examples": artifact("Examples", "/data/examples"),
        "schema": artifact("Schema", "/data/schema"),
    }
    outputs = {
        "transform_graph": artifact("TransformGraph", "/data/output/graph"),
        "transformed_examples": artifact("Examples", "/data/output/examples"),
        "updated_analyzer_cache": artifact("TransformCache", "/data/output/cache"),
    }
    properties = {
        "preprocessing_fn": "models.preprocessing.preprocessing_fn",
        "splits_config": json.dumps({"analyze": ["train"], "transform": ["train", "validation"]}),
        "custom_config": json.dumps({"image_size": 64}),
        "disable_statistics": 1,
        "force_tf_compat_v1": 0,
    }
    command = ["python", "-m", "tfx.scripts.run_executor"]
    command += ["--executor_class_path", "tfx.components.transform.executor.Executor"]
    command += ["--temp_directory_path", "/tmp"]
    command += ["--inputs", artifact_utils.jsonify_artifact_dict(inputs)]
    command += ["--outputs", artifact_utils.jsonify_artifact_dict(outputs)]
    command += ["--exec-properties", json.dumps(properties)]
    mounts = {"/data/examples": examples, "/data/schema": schema, "/data/output": output}
    ended = run_in(root, command, environment | {"HOME": "/home/pawprint"}, user, mounts)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert list((output / "examples/Split-train").glob("*.gz"))
    assert (output / "graph/transform_fn/saved_model.pb").is_file()
