"""The images' recipes, without building them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker

from pipeline.cloud import dataflow
from tests.conftest import REPOSITORY
from tests.docker.dockerfile import read

RECIPES = sorted((REPOSITORY / "docker").glob("*.Dockerfile"))
REQUIREMENTS = REPOSITORY / "requirements"


# The Python of the images, as the markers of a lock for several Pythons see it.
IMAGES = {"python_version": "3.12", "python_full_version": "3.12.0"}
IMAGES |= {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
IMAGES |= {"os_name": "posix", "sys_platform": "linux"}


def locked(name: str) -> dict[str, str]:
    """Package to version of a lock file, as the images' Python reads it."""
    text = (REQUIREMENTS / name).read_text()
    lines = re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==(\S+)(?: ; (.+?))? \\$", text, re.M)
    return {
        package: version
        for package, version, marker in lines
        if not marker or Marker(marker).evaluate(IMAGES)
    }


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_hadolint_finds_nothing(recipe):
    linter = Path(sys.executable).with_name("hadolint")
    ended = subprocess.run([linter, recipe], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def test_images_hold_the_versions_that_are_tested():
    tested, image, gpu = (locked(name) for name in ("py312.txt", "image.txt", "image-gpu.txt"))
    assert image.items() <= tested.items()
    assert image.items() <= gpu.items()
    assert gpu.keys() - image.keys() == {name for name in gpu if name.startswith("nvidia-")}
    assert not image.keys() & {"pytest", "selenium", "ruff"}
    assert not gpu.keys() & {"jedi", "jupyterlab-widgets", "parso", "widgetsnbextension"}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.name)
def test_an_image_runs_as_nobody_special_on_hashed_packages(recipe):
    build, final = read(recipe)
    assert build.base == final.base == "python:3.12-slim-trixie"
    assert dict(final.instructions)["USER"] == "1000"
    assert "TF_USE_LEGACY_KERAS=1" in dict(final.instructions)["ENV"]
    steps = " ".join(rest for word, rest in build.instructions if word == "RUN")
    assert "apt-get install" in steps
    installs = re.findall(r"(?:pip install|pip sync) [^&]+", steps)
    *packages, project = installs
    assert len(packages) == 2 and all("--require-hashes" in install for install in packages)
    assert "--no-deps" in project and project.strip().endswith("/dist/*.whl")
    assert not any("apt-get" in rest for word, rest in final.instructions if word == "RUN")


def test_the_worker_image_starts_beams_boot_and_the_training_image_what_a_job_names():
    worker = read(REPOSITORY / "docker/worker.Dockerfile")[-1].instructions
    ((boot, target),) = [rest.split()[1:] for _, rest in worker if "--from=apache/beam" in rest]
    assert boot == target == "/opt/apache/beam"
    assert json.loads(dict(worker)["ENTRYPOINT"]) == [f"{target}/boot"]
    train = read(REPOSITORY / "docker/train.Dockerfile")[-1].instructions
    assert not {"ENTRYPOINT", "CMD"} & dict(train).keys()


def test_versions_named_in_the_recipes_are_the_locks():
    setup = (REPOSITORY / "scripts" / "setup.sh").read_text()
    (uv,) = re.findall(r"UV_VERSION=(\S+)", setup)
    for recipe in RECIPES:
        assert re.findall(r"uv==(\S+) --hash=sha256:[0-9a-f]{64}\b", recipe.read_text()) == [uv]
    beam = locked("image.txt")["apache-beam"]
    recipe = (REPOSITORY / "docker/worker.Dockerfile").read_text()
    assert f"beam_python3.12_sdk:{beam}" in recipe
    assert beam == dataflow.IMAGE_BEAM and f"python:{dataflow.IMAGE_PYTHON}-slim" in recipe


def test_what_is_copied_is_sent_to_the_daemon():
    sent = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for recipe in RECIPES:
        for word, rest in read(recipe)[0].instructions:
            for source in rest.split()[:-1] if word == "COPY" else ():
                assert f"!{source.split('/')[0]}" in sent, source
                assert (REPOSITORY / source).exists(), source


def test_cloud_build_makes_both():
    steps = yaml.safe_load((REPOSITORY / "docker" / "cloudbuild.yaml").read_text())["steps"]
    built = {arg for step in steps for arg in step["args"] if arg.endswith(".Dockerfile")}
    assert built == {str(path.relative_to(REPOSITORY)) for path in RECIPES}
