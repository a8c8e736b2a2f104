"""A Vertex AI target connected to the stand-in."""

import pytest

from pipeline.config.push import VertexConfig
from pipeline.push import vertex_service
from pipeline.push.vertex import VertexTarget
from tests.standins.vertex_prediction import VertexPredictionStandIn


@pytest.fixture
def service(storage):
    with VertexPredictionStandIn(storage) as stand_in:
        yield stand_in


@pytest.fixture
def options(service):
    def make(**settings) -> VertexConfig:
        given = {
            "project": "my-project",
            "region": "europe-west4",
            "models_at": "gs://bucket/models",
            "model": "cats-dogs",
            "labels": {"team": "pets"},
            "timeout_s": 60,
            "api_endpoint": service.url,
        }
        return VertexConfig(**given | settings)

    return make


@pytest.fixture
def target(options, monkeypatch):
    monkeypatch.setattr(vertex_service, "BACKOFF_S", 0.02)
    monkeypatch.setattr(vertex_service, "POLL_S", 0.05)
    return lambda keep_last=5, **settings: VertexTarget(options(**settings), keep_last)
