"""The project's licence, and the notice of what it brings along."""

import shutil
import subprocess
import sys
import tarfile

from models.backbones.package import EFFICIENTNET_LITE0
from tests.conftest import REPOSITORY
from tests.docker.dockerfile import read


def test_the_licence_is_apache_2():
    text = (REPOSITORY / "LICENSE").read_text()
    assert text.split()[:5] == ["Apache", "License", "Version", "2.0,", "January"]
    assert "END OF TERMS AND CONDITIONS" in text and "2026 The pawprint authors" in text


def test_the_notice_names_the_weights():
    text = (REPOSITORY / "NOTICE").read_text()
    package = EFFICIENTNET_LITE0
    name, _, version = package.distribution.partition("==")
    for part in (f"{name} {version}", package.file.rpartition("/")[2], package.sha256):
        assert part in text
    assert package.trained_on in text and "Apache License, Version 2.0" in text
    assert f'"{package.distribution}"' in (REPOSITORY / "setup.py").read_text()


def test_images_carry_both():
    for recipe in (REPOSITORY / "docker").glob("*.Dockerfile"):
        copied = [rest for word, rest in read(recipe)[0].instructions if word == "COPY"]
        assert any({"LICENSE", "NOTICE"} <= set(rest.split()) for rest in copied), recipe


def test_a_source_distribution_carries_both(tmp_path):
    names = ("setup.py", "pyproject.toml", "LICENSE", "NOTICE", "pipeline/lineage/LICENSE-dagre")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, tmp_path / name)
    command = [sys.executable, "setup.py", "-q", "sdist"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("dist/*.tar.gz")
    with tarfile.open(path) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    assert set(names) <= packed
