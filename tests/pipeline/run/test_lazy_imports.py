import importlib
import inspect
import subprocess
import sys
import threading

import pytest

from pipeline.run import lazy_imports

_LIBRARIES = """
import sys
from pipeline.run import lazy_imports
lazy_imports.install()
import pipeline.run.dag_runner, pipeline.pipeline, pipeline.run.summary
for name in ("google.cloud.aiplatform", "nltk", "rouge_score", "kfp", "sklearn.metrics"):
    assert name not in sys.modules, name
for name in lazy_imports.MODULES:
    assert isinstance(sys.modules[name].__loader__, lazy_imports._DeferringLoader), name

from tfx import v1 as tfx
from tfx.extensions.google_cloud_ai_platform.trainer.component import Trainer
assert tfx.extensions.google_cloud_ai_platform.Trainer is Trainer
from google.cloud import aiplatform, bigquery
from google.cloud.bigquery.table import Table
assert aiplatform.Model and bigquery.Table is Table
import tensorflow_model_analysis as tfma
assert issubclass(tfma.metrics.rouge.Rouge, tfma.metrics.Metric)
assert tfx.orchestration.experimental.KubeflowV2DagRunner
"""


@pytest.fixture
def deferred(tmp_path, monkeypatch):
    """Writes a package, defers it and imports it; `events` of builtins collects its executions."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("builtins.events", [], raising=False)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    before = set(sys.modules)

    def write_and_import(source: str, **submodules: str):
        folder = tmp_path / "late_package"
        folder.mkdir()
        (folder / "__init__.py").write_text(f"events.append('package')\n{source}")
        for name, text in submodules.items():
            (folder / f"{name}.py").write_text(f"events.append('{name}')\n{text}")
        sys.meta_path.insert(0, lazy_imports._Finder(["late_package"]))
        return importlib.import_module("late_package")

    yield write_and_import
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_module_is_executed_on_first_use_once(deferred):
    module = deferred("VALUE = 7")
    import late_package

    assert late_package is module
    assert events == []  # noqa: F821
    assert module.VALUE == 7
    from late_package import VALUE

    assert VALUE == 7
    assert events == ["package"]  # noqa: F821
    assert "__getattr__" not in vars(module)
    with pytest.raises(AttributeError, match="nothing"):
        _ = module.nothing


def test_inspect_does_not_execute_it(deferred):
    module = deferred("VALUE = 7")
    inspect.getmodule(inspect.currentframe())
    assert module.__file__.endswith("__init__.py")
    assert events == []  # noqa: F821


@pytest.mark.parametrize(
    "package", ["VERSION = 7\nfrom late_package.child import VERSION_TOO", "VERSION = 7"]
)
def test_package_is_executed_before_its_submodule(deferred, package):
    deferred(package, child="from late_package import VERSION\nVERSION_TOO = VERSION")
    import late_package.child

    assert late_package.child.VERSION_TOO == 7
    assert late_package.child is sys.modules["late_package.child"]
    assert late_package.child.__spec__.origin.endswith("child.py")
    assert events == ["package", "child"]  # noqa: F821


def test_module_keeps_its_own_getattr(deferred):
    module = deferred("def __getattr__(name): return name.upper()")
    assert module.some == "SOME"
    assert module.__getattr__.__module__ == "late_package"


def test_failed_module_is_executed_again(deferred):
    module = deferred("if len(events) == 1: raise OSError('not now')\nVALUE = 7")
    with pytest.raises(OSError, match="not now"):
        _ = module.VALUE
    assert module.VALUE == 7


def test_threads_see_a_complete_module(deferred):
    module = deferred("import time\ntime.sleep(0.2)\nVALUE = 7")
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(module.VALUE)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [7] * 4
    assert events == ["package"]  # noqa: F821


def test_module_that_is_not_there_is_an_import_error(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [lazy_imports._Finder(["no_such"]), *sys.meta_path])
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such")


def test_install_twice_installs_once(monkeypatch):
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    lazy_imports.install()
    lazy_imports.install()
    assert sum(isinstance(finder, lazy_imports._Finder) for finder in sys.meta_path) == 1


def test_libraries_of_a_local_run():
    """What a run does not need is not imported, and is there when it is asked for."""
    done = subprocess.run(
        [sys.executable, "-c", _LIBRARIES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
