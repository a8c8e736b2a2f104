"""The worker image's steps, carried out for real in an empty Debian: no Docker daemon is needed.

What differs from `docker build`: the base is debootstrap's Debian with this machine's CPython 3.12
in /usr/local, where python:3.12-slim-trixie has its own, and Beam's boot program is left out.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.conftest import REPOSITORY, WHOLE
from tests.docker.dockerfile import Builder, read, run_in
from tests.docker.test_dockerfiles import locked
from tests.models import cluster_of
from tests.models.test_distributed import arguments, history
from tests.pipeline.cloud.settings import cloud_config

BASE = "python:3.12-slim-trixie"
BEAM = "apache/beam_python3.12_sdk:2.77.0"
# What python:3.12-slim-trixie has beside the interpreter itself, and the modules that need it.
LIBRARIES = (
    "ca-certificates,libbz2-1.0,libexpat1,libffi8,liblzma5,libncursesw6,libreadline8t64,"
    "libsqlite3-0,libssl3t64,libuuid1,zlib1g"
)
USERS = "import bz2, ctypes, curses, lzma, pyexpat, readline, sqlite3, ssl, uuid, zlib"
# How this machine reaches its package registries.
REGISTRY_FILES = (
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/pip.conf",
    "/etc/ssl/certs/ca-certificates.crt",
)
REGISTRY_VARIABLES = re.compile(r"(?i)(pip|uv|ssl|requests)_|.*_proxy$")


def _python() -> Path | None:
    """The prefix of a CPython 3.12 with its headers that can be copied; None where there is none.

    Looked for where scripts/setup.sh looks: it need not be the one that runs the tests.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    prefixes = [Path(sys.base_prefix), *sorted(pyenv.glob("versions/3.12.*"))]
    if found := shutil.which("python3.12"):
        prefixes.append(Path(found).resolve().parents[1])
    for prefix in prefixes:
        parts = (prefix / "bin/python3.12", prefix / "include/python3.12/Python.h")
        if prefix != Path("/usr") and all(part.exists() for part in parts):
            return prefix
    return None


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for chroot"),
    pytest.mark.skipif(not shutil.which("debootstrap"), reason="needs Debian's debootstrap"),
    pytest.mark.skipif(
        not _python(), reason="needs a CPython 3.12 with its headers in a prefix of its own"
    ),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A root file system like the base image's."""
    root = tmp_path_factory.mktemp("debian") / "root"
    command = ["debootstrap", "--variant=minbase", f"--include={LIBRARIES}", "trixie", str(root)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:]
    for name in ("bin", "include", "lib"):
        ignore = shutil.ignore_patterns("site-packages", "__pycache__", "test", "config-3.12-*")
        target = root / "usr/local" / name
        shutil.copytree(_python() / name, target, symlinks=True, dirs_exist_ok=True, ignore=ignore)
    python = "/usr/local/bin/python3.12"
    for step in (["/sbin/ldconfig"], [python, "-c", USERS], [python, "-m", "ensurepip"]):
        ended = subprocess.run(["chroot", root, *step], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr[-2000:]
    (root / "usr/local/bin/pip").unlink(missing_ok=True)
    (root / "usr/local/bin/pip").write_text(
        '#!/bin/sh\nexec /usr/local/bin/python3.12 -m pip "$@"\n'
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
    # Not sources.list.d, which names this machine's Debian: debootstrap has written the image's.
    settings = Path("/etc/apt/apt.conf.d")
    if settings.is_dir():
        shutil.copytree(settings, root / settings.relative_to("/"), dirs_exist_ok=True)


def test_nothing_of_the_build_is_left(image):
    root, _, user = image
    assert user == "1000"
    for tool in ("g++", "gcc", "cc", "uv", "make"):
        assert not list(root.glob(f"usr/bin/{tool}")) and not list(
            root.glob(f"usr/local/bin/{tool}")
        )
    assert not (root / "src").exists()
    packages = root / "opt/pawprint/lib/python3.12/site-packages"
    assert (packages / "pipeline/pipeline.py").is_file()
    assert not list(packages.glob("__editable__*")) + list(packages.glob("runner_*"))
    gigabytes = int(subprocess.check_output(["du", "-sm", root]).split()[0]) / 1024
    print(f"worker image: {gigabytes:.2f} GB on disk")
    assert gigabytes < 4


def test_everything_that_a_task_may_import_is_there(image):
    """The lock leaves packages out that its packages ask for: no import needs them."""
    root, environment, user = image
    script = """
import importlib, pkgutil
import tensorflow_data_validation
import tensorflow_model_analysis
from tfx import v1
import data, models, pipeline

tensorflow_model_analysis.run_model_analysis  # TFMA hides an import that fails
count = 0
for package in (data, models, pipeline):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            count += 1
print(count)
"""
    ended = run_in(root, ["python", "-c", script], environment | {"HOME": "/home/pawprint"}, user)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert int(ended.stdout.split()[-1]) > 50


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


_CLUSTER = """
import fcntl, json, os, socket, struct, sys
from pathlib import Path

user, given = int(sys.argv[1]), json.loads(sys.argv[2])
# Without a network 127.0.0.1 is down too, and only root can bring it up.
with socket.socket() as control:
    fcntl.ioctl(control, 0x8914, struct.pack("16sH22x", b"lo", 1))  # SIOCSIFFLAGS with IFF_UP
os.setgid(user)
os.setuid(user)
sys.path.append("/checkout")  # Last, and only here: both processes import the image's `models`.
from tests.models import cluster_of

members = cluster_of.members(2, chief=True)
processes = []
for kind in members:
    # Each has its own folder for a model, which shows who exported one.
    own = given | {"serving_model_dir": f"/data/output/model-of-{kind}/Format-Serving"}
    processes.append(cluster_of.start(members, kind, 0, own, Path(f"/data/output/logs/{kind}.log")))
print(*cluster_of.wait(processes, 240))
"""


def test_two_processes_train_there_as_one_cluster(image, pushed_run, tmp_path):
    """On the transformed examples of this environment's run."""
    root, environment, user = image
    transform = pushed_run.root / "pipeline/Transform"
    (graph,) = (transform / "transform_graph").iterdir()
    (examples,) = (transform / "transformed_examples").iterdir()
    (trained,) = pushed_run.root.glob("pipeline/Trainer/model/*/model_card.json")
    settings = json.loads(trained.read_text())["provenance"]["settings"]
    output = tmp_path / "output"
    (output / "logs").mkdir(parents=True)
    for folder in (output, output / "logs"):
        folder.chmod(0o777)

    transformed = SimpleNamespace(
        root="/data/transformed", labels=settings["labels"], image_size=settings["image_size"]
    )
    command = ["python", "-c", _CLUSTER, user]
    command.append(json.dumps(arguments(transformed, Path("/data/output"))))
    mounts = {
        "/checkout": REPOSITORY,
        "/data/transformed/transform": graph,
        "/data/transformed/train": examples / "Split-train",
        "/data/transformed/eval": examples / "Split-validation",
        "/data/output": output,
    }
    home = environment | {"HOME": "/home/pawprint"}
    ended = run_in(root, command, home, "0", mounts)
    message = ended.stderr[-3000:] + cluster_of.logs(output / "logs")
    assert ended.stdout.split() == ["0", "0"], message

    assert [row["epoch"] for row in history(output)] == [1, 2]
    assert {path.name for path in output.iterdir()} == {"logs", "model-of-chief", "model_run"}
    assert (output / "model-of-chief/Format-Serving/saved_model.pb").is_file()
    card = json.loads((output / "model-of-chief/model_card.json").read_text())
    assert card["provenance"]["settings"]["trainer"]["workers"] == 2
    assert card["provenance"]["libraries"]["tfx"] == locked("image.txt")["tfx"]


def _without_versions(job: dict) -> dict:
    """The compiled job without the parts that depend on the versions of Python and TFX."""
    for name in ("tfx_py_version", "tfx_version"):
        del job["labels"][name]
    del job["pipelineSpec"]["sdkVersion"]
    task = job["pipelineSpec"]["root"]["dag"]["tasks"]["StatisticsGen"]
    options = task["inputs"]["parameters"]["stats_options_json"]["runtimeValue"]
    options["constant"] = json.loads(options["constant"])
    options["constant"].pop("_slice_sqls", None)  # TFDV 1.21 has no such option.
    return job


def test_the_same_settings_compile_there_to_the_same_spec(image):
    """Equal in all tasks, their dependencies, parameters, executors and images."""
    from pipeline.vertex import compiled

    root, environment, user = image
    home = environment | {"HOME": "/home/pawprint", "PYTHONPATH": "/checkout"}
    script = f"""
import json
from {compiled.__name__} import compile_pipeline
from {cloud_config.__module__} import cloud_config
print(json.dumps(compile_pipeline(cloud_config())))
"""
    ended = run_in(root, ["python", "-c", script], home, user, {"/checkout": REPOSITORY})
    assert ended.returncode == 0, ended.stderr[-3000:]
    there = json.loads(ended.stdout.splitlines()[-1])
    assert there["pipelineSpec"]["sdkVersion"] == f"tfx-{locked('image.txt')['tfx']}"
    here = compiled.compile_pipeline(cloud_config())
    assert _without_versions(there) == _without_versions(here)


_ANSWERS = """
import json, sys
import tensorflow as tf

photos = tf.constant([open(path, "rb").read() for path in sys.argv[3:]])
answers = []
for path in sys.argv[1:3]:
    model = tf.saved_model.load(path)
    answer = model.signatures["serving_jpeg"]
    (name,) = answer.structured_input_signature[1]
    answers += answer(**{name: photos})["probabilities"].numpy().tolist()
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def taken_over(image, pushed_run, photos, tmp_path_factory):
    """Runs the image's Python on the root of this environment's run, as if it had been upgraded.

    Returns:
        A function that runs a command there, and the root.
    """
    if metadata.version("tfx") == locked("image.txt")["tfx"]:
        pytest.skip("this environment has the image's TFX: there is nothing to take over")
    folder, environment, user = image
    root = tmp_path_factory.mktemp("taken") / "root"
    shutil.copytree(pushed_run.root, root)
    shutil.rmtree(root / "records")
    subprocess.run(["chown", "-R", user, root], check=True)
    # ML Metadata has absolute addresses: the copy lies where its original was.
    mounts = {"/checkout": REPOSITORY, str(photos): photos, str(pushed_run.root): root}

    def run(*command):
        arguments = [str(part).replace(str(root), str(pushed_run.root)) for part in command]
        home = environment | {"HOME": "/home/pawprint", "TF_CPP_MIN_LOG_LEVEL": "3"}
        return run_in(folder, ["python", *arguments], home, user, mounts)

    return run, root


def test_the_other_python_takes_over_a_root(taken_over, pushed_run, photos):
    run, root = taken_over
    command = ["/checkout/runner_local.py", "--images", photos, "--root", root]
    pushed = run(*command, *WHOLE)
    assert pushed.returncode == 0, pushed.stdout + pushed.stderr[-3000:]
    assert "Pushed version 2" in pushed.stdout
    assert not re.search(r"(ExampleGen|Transform|Trainer) +cached", pushed.stdout)

    for mine in (pushed_run.root / "records").rglob("*.tfrecord*"):
        theirs = root / mine.relative_to(pushed_run.root)
        assert theirs.read_bytes() == mine.read_bytes(), "the records are equal to the byte"

    refused = run(*command, *WHOLE, "--set=gate.bounds=[{metric: loss, max: 1.0e-9}]")
    assert refused.returncode == 3, refused.stdout + refused.stderr[-3000:]
    assert not (root / "serving" / "3").exists()


def test_a_model_of_either_python_answers_alike_in_the_other(taken_over, photos):
    run, root = taken_over
    shown = sorted((photos / "cat").glob("0*.jpg"))[:4]
    arguments = ["-c", _ANSWERS, root / "serving" / "1", root / "serving" / "2", *shown]
    there = run(*arguments)
    assert there.returncode == 0, there.stderr[-3000:]
    here = subprocess.check_output([sys.executable, *map(str, arguments)], text=True)
    answers = [json.loads(text.splitlines()[-1]) for text in (there.stdout, here)]
    assert len(answers[0]) == 2 * len(shown)
    assert answers[0] == [pytest.approx(row, abs=1e-5) for row in answers[1]]
