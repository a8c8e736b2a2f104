"""Defers the execution of modules that TFX imports and local runs do not need.

Half the time of `from tfx import v1` goes to clients of Google Cloud and Kubernetes, notebook
widgets and language metrics. `install` defers a fixed list of them: the import statement returns
the module without executing it, and the first access to an attribute executes it. The module object
is the same before and after.
"""

import sys
import threading
from collections.abc import Iterable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MODULES = (
    # Vertex AI components of TFX, with google.cloud.aiplatform.
    "tfx.v1.extensions",
    # Runners of TFX for Vertex AI Pipelines, with kfp.
    "tfx.v1.orchestration.experimental",
    "tfx.components.infra_validator.model_server_runners.kubernetes_runner",
    # Metrics Rouge and Bleu of TFMA, with nltk, rouge_score and sacrebleu. TFMA finds a metric by
    # name only after its module has been executed; the gate does not use these.
    "tensorflow_model_analysis.metrics.bleu",
    "tensorflow_model_analysis.metrics.rouge",
    # Connectors of Beam.
    "google.cloud.bigquery",
    "google.cloud.pubsub",
    # Confidence intervals of TFMA and tuners of KerasTuner.
    "scipy.stats",
    "sklearn.gaussian_process",
    "sklearn.model_selection",
    "sklearn.pipeline",
)
"""Modules that are executed on first use. TFX, TFMA and Beam use them inside functions only;
deferring other modules would save no time."""


def install(modules: Iterable[str] = MODULES) -> None:
    """Defers modules that are not imported yet. Further calls have no effect.

    Args:
        modules: names of the modules.

    Example:
        >>> lazy_imports.install()
        >>> from tfx import v1 as tfx  # without google.cloud.aiplatform
        >>> tfx.extensions.google_cloud_ai_platform.Trainer  # imports it now
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(modules))


class _Finder(MetaPathFinder):
    """Finds listed modules with the other finders and wraps their loaders."""

    def __init__(self, modules: Iterable[str]):
        self._modules = frozenset(modules)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        parent = name.rpartition(".")[0]
        if parent in self._modules:  # a package is executed before its submodules
            package = sys.modules[parent]
            if isinstance(package.__loader__, _DeferringLoader):
                # Does not wait: this thread holds the import lock of the submodule, and the thread
                # that executes the package may need that lock.
                package.__loader__.execute(package, wait=False)
                if module := sys.modules.get(name):
                    # The import system uses the spec of a module that has been imported meanwhile.
                    module.__spec__ = ModuleSpec(name, _ImportedLoader(module))
                    return module.__spec__
        if name not in self._modules:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, found), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _DeferringLoader(spec.loader)
        return spec


class _DeferringLoader(Loader):
    """Executes a module on the first access to an attribute that the import did not set.

    `importlib.util.LazyLoader` executes a module on access to any attribute, including `__file__`
    and `__spec__`, which TensorFlow reads from all modules through `inspect`.
    """

    def __init__(self, loader: Loader):
        self._loader = loader
        self._lock = threading.RLock()
        self._executing = False

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        def on_missing(name: str) -> Any:  # PEP 562
            with self._lock:  # other threads wait until the module is complete
                if self._executing and name not in vars(module):
                    raise AttributeError(f"{module.__name__!r} has no attribute {name!r} yet")
                self.execute(module)
                return getattr(module, name)

        self._hook = vars(module)["__getattr__"] = on_missing

    def execute(self, module: ModuleType, wait: bool = True) -> None:
        """Executes the module once; if that fails, the next call executes it again.

        Args:
            module: the module to execute.
            wait: if another thread is executing the module, wait until it has finished; otherwise
                return immediately.
        """
        if not self._lock.acquire(blocking=wait):
            return
        try:
            if self._executing or vars(module).get("__getattr__") is not self._hook:
                return
            self._executing = True
            _set_loader(module, self._loader)
            try:
                self._loader.exec_module(module)
            except BaseException:
                _set_loader(module, self)
                vars(module)["__getattr__"] = self._hook
                raise
            finally:
                self._executing = False
            if vars(module).get("__getattr__") is self._hook:  # else the module defines its own
                del vars(module)["__getattr__"]
        finally:
            self._lock.release()


class _ImportedLoader(Loader):
    """Returns a submodule that its package has already imported."""

    def __init__(self, module: ModuleType):
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec


def _set_loader(module: ModuleType, loader: Loader) -> None:
    module.__loader__ = loader
    if module.__spec__ is not None:
        module.__spec__.loader = loader
