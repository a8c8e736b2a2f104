"""Google Cloud's stand-ins, and the environment that connects clients to them."""

import time
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from data.storage import gs
from tests.pipeline.cloud.settings import BUCKET, cloud_config
from tests.standins.accounts import TokenStandIn, forget_login
from tests.standins.dataflow import DataflowStandIn
from tests.standins.storage import StorageStandIn
from tests.standins.vertex_service import VertexStandIn


@dataclass(frozen=True)
class Cloud:
    """The services that a command uses."""

    vertex: VertexStandIn
    storage: StorageStandIn
    tokens: TokenStandIn

    def config(self, *overrides: str):
        """A config that uses the stand-ins."""
        return cloud_config(f"cloud.endpoint={self.vertex.url}", *overrides)


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    """The services, empty except for the bucket."""
    with StorageStandIn(BUCKET) as storage, TokenStandIn() as tokens, VertexStandIn() as vertex:
        environment = {
            "GOOGLE_APPLICATION_CREDENTIALS": str(tokens.write_key(tmp_path / "key.json")),
            "STORAGE_EMULATOR_HOST": storage.url,
            "NO_GCE_CHECK": "true",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        gs._client.cache_clear()  # the process keeps its client of Cloud Storage
        yield Cloud(vertex, storage, tokens)
        gs._client.cache_clear()


@pytest.fixture
def dataflow(cloud, monkeypatch):
    """Dataflow, whose jobs stay pending, and a Beam client with short pauses."""
    hurried = SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / 50), time=time.time)
    monkeypatch.setattr("apitools.base.py.http_wrapper.time", hurried)
    monkeypatch.setattr("apache_beam.utils.retry.Clock.sleep", lambda *_: None)
    forget_login()
    with DataflowStandIn() as service:
        yield service
    forget_login()


def on_dataflow(service: DataflowStandIn) -> str:
    """The setting that selects a Dataflow stand-in."""
    return f"cloud.dataflow.endpoint={service.url.replace('127.0.0.1', 'localhost')}"


@pytest.fixture(scope="session")
def spec(tmp_path_factory):
    """A compiled pipeline."""
    from pipeline.vertex import compiled

    path = tmp_path_factory.mktemp("spec") / "pipeline.json"
    compiled.write(compiled.compile_pipeline(cloud_config()), path)
    return path
