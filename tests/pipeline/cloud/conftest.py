"""Google Cloud's stand-ins, and the client's environment that leads to them."""

from dataclasses import dataclass

import pytest

from data import gs
from tests.pipeline.cloud.settings import BUCKET, cloud_config
from tests.standins.accounts import TokenStandIn
from tests.standins.storage import StorageStandIn
from tests.standins.vertex_service import VertexStandIn


@dataclass(frozen=True)
class Cloud:
    """The services that a command talks to, and what leads it there."""

    vertex: VertexStandIn
    storage: StorageStandIn
    environment: dict[str, str]

    def config(self, *overrides: str):
        """A config whose services are the stand-ins."""
        return cloud_config(f"cloud.endpoint={self.vertex.url}", *overrides)


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    """The services, empty but for the bucket."""
    with StorageStandIn(BUCKET) as storage, TokenStandIn() as tokens, VertexStandIn() as vertex:
        environment = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(tokens.write_key(tmp_path / "key.json")),
            "STORAGE_EMULATOR_HOST": storage.url,
            "NO_GCE_CHECK": "true",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        gs._client.cache_clear()  # the process keeps its client of Cloud Storage
        yield Cloud(vertex, storage, environment)
        gs._client.cache_clear()


@pytest.fixture(scope="session")
def spec(tmp_path_factory):
    """A compiled pipeline."""
    from pipeline.cloud import compiled

    path = tmp_path_factory.mktemp("spec") / "pipeline.json"
    compiled.write(compiled.compile_pipeline(cloud_config()), path)
    return path
