"""Imports on first use: modules that TFX imports and a local run does not need.

`from tfx import v1` imports clients of Google Cloud and Kubernetes, notebook widgets and metrics of
natural language: half the time of the import, on every run. `install` defers a fixed list of them.
The import statement yields the module without executing it; asking it for an attribute executes it.
Nothing is replaced or missing: it is the same module object, later.
"""

import sys
import threading
from collections.abc import Iterable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

MODULES = (
    # TFX's Vertex AI components and with them google.cloud.aiplatform.
    "tfx.v1.extensions",
    # TFX's runners for Vertex AI Pipelines and with them kfp.
    "tfx.v1.orchestration.experimental",
    "tfx.components.infra_validator.model_server_runners.kubernetes_runner",
    # TFMA's Rouge and Bleu and with them nltk, rouge_score and sacrebleu. TFMA finds metrics that
    # are named by string only once their module is executed; the gate has a list of its own.
    "tensorflow_model_analysis.metrics.bleu",
    "tensorflow_model_analysis.metrics.rouge",
    # Beam's connectors.
    "google.cloud.bigquery",
    "google.cloud.pubsub",
    # Confidence intervals of TFMA; tuners of KerasTuner.
    "scipy.stats",
    "sklearn.gaussian_process",
    "sklearn.model_selection",
    "sklearn.pipeline",
)
"""Modules that are executed on first use. Only modules whose importers in TFX, TFMA and Beam use
them inside functions: with others the list would gain nothing."""


def install(modules: Iterable[str] = MODULES) -> None:
    """Defers modules that are not imported yet; once for a process.

    Example:
        >>> lazy_imports.install()
        >>> from tfx import v1 as tfx  # without google.cloud.aiplatform
        >>> tfx.extensions.google_cloud_ai_platform.Trainer  # imports it now
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(modules))


class _Finder(MetaPathFinder):
    """Finds the modules of a list as the other finders do, with a loader that waits."""

    def __init__(self, modules: Iterable[str]):
        self._modules = frozenset(modules)

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        parent = name.rpartition(".")[0]
        if parent in self._modules:  # a package is executed before its submodules
            package = sys.modules[parent]
            if isinstance(package.__loader__, _DeferringLoader):
                # Without waiting: this thread holds the lock of the submodule's import, for which
                # a thread that executes the package may wait.
                package.__loader__.execute(package, wait=False)
                if module := sys.modules.get(name):
                    # The import system takes the spec of a module that is there by now.
                    spec = module.__spec__ = ModuleSpec(name, _Imported(module))
                    return spec
        if name not in self._modules:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, found), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _DeferringLoader(spec.loader)
        return spec


class _DeferringLoader(Loader):
    """Executes a module when it is first asked for an attribute that the import did not set.

    `importlib.util.LazyLoader` executes on any attribute, `__file__` and `__spec__` included, for
    which `inspect` asks every module there is: TensorFlow would have it all executed.
    """

    def __init__(self, loader: Loader):
        self._loader = loader
        self._lock = threading.RLock()
        self._executing = False

    def create_module(self, spec: ModuleSpec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        def on_missing(name: str):  # PEP 562
            with self._lock:  # other threads wait until the module is complete
                if self._executing and name not in vars(module):
                    raise AttributeError(f"{module.__name__!r} has no attribute {name!r} yet")
                self.execute(module)
                return getattr(module, name)

        self._hook = module.__getattr__ = on_missing

    def execute(self, module, wait: bool = True) -> None:
        """Executes the module unless that was done; a failed one is executed again on next use.

        Args:
            module: to execute.
            wait: for another thread that executes it.
        """
        if not self._lock.acquire(blocking=wait):
            return
        try:
            if self._executing or vars(module).get("__getattr__") is not self._hook:
                return
            self._executing = True
            module.__loader__ = module.__spec__.loader = self._loader
            try:
                self._loader.exec_module(module)
            except BaseException:
                module.__loader__ = module.__spec__.loader = self
                module.__getattr__ = self._hook
                raise
            finally:
                self._executing = False
            if vars(module).get("__getattr__") is self._hook:  # else it has one of its own
                del module.__getattr__
        finally:
            self._lock.release()


class _Imported(Loader):
    """Yields a submodule that its package has imported."""

    def __init__(self, module):
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec):
        return self._module

    def exec_module(self, module):
        module.__spec__ = self._spec
