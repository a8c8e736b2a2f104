"""What the prediction stand-ins do with the models that were pushed to a Storage stand-in."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.standins.served_model import ServedModel
from tests.standins.storage import StorageStandIn


class ModelStorage:
    """Looks models up by their `gs://` address and serves them."""

    def __init__(self, storage: StorageStandIn):
        self._storage = storage
        self._served: dict[str, ServedModel] = {}
        self._scratch = tempfile.TemporaryDirectory()

    def holds(self, uri: str) -> bool:
        """Whether there is a SavedModel."""
        bucket = uri.removeprefix("gs://").partition("/")[0]
        if bucket not in self._storage.buckets:
            return False
        return "saved_model.pb" in self._storage.names(f"{uri.rstrip('/')}/")

    def predict(self, uri: str, body: dict) -> dict:
        """The answer of the model at that address; see `ServedModel.predict`."""
        if uri not in self._served:
            folder = Path(self._scratch.name) / str(len(self._served))
            self._served[uri] = ServedModel(self._storage.fetch(uri, folder))
        return self._served[uri].predict(body)

    def close(self) -> None:
        for served in self._served.values():
            served.close()
        self._scratch.cleanup()
