"""The examples in docstrings give what they show."""

import doctest
import importlib

import pytest

from tests.conftest import REPOSITORY

# Their examples show a run, a server or a photo of the user's.
NEED_FILES = {
    "pipeline.metadata.reader",
    "pipeline.metadata.stores",
    "pipeline.pipeline",
    "pipeline.predict.bulk",
    "pipeline.predict.client",
    "pipeline.run.console",
    "pipeline.run.dag_runner",
    "pipeline.run.ingest",
    "pipeline.run.lazy_imports",
    "pipeline.run.local_run",
    "pipeline.serve.app",
    "pipeline.serve.loaded_model",
}


def _modules() -> list[str]:
    """Names of the modules with examples."""
    paths = (
        path for top in ("data", "models", "pipeline") for path in (REPOSITORY / top).rglob("*.py")
    )
    found = (path.relative_to(REPOSITORY) for path in paths if ">>> " in path.read_text())
    return sorted(".".join(path.with_suffix("").parts) for path in found)


@pytest.mark.parametrize("name", [name for name in _modules() if name not in NEED_FILES])
def test_the_examples_of_a_module_are_right(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted and not found.failed


def test_the_modules_that_need_files_exist():
    assert set(_modules()) >= NEED_FILES
