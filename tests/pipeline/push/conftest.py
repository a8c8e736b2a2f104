"""Cloud Storage, credentials and small models for the push targets."""

import pytest

from tests.standins.accounts import TokenStandIn
from tests.standins.storage import StorageStandIn


@pytest.fixture(scope="session")
def _store(tmp_path_factory):
    with StorageStandIn("bucket") as service, TokenStandIn() as tokens:
        yield service, tokens.write_key(tmp_path_factory.mktemp("key") / "key.json")


@pytest.fixture
def storage(_store, monkeypatch):
    """The Cloud Storage stand-in, for this process and its children, with a service account key."""
    from data.storage import gs

    service, key = _store
    service.buckets["bucket"].clear()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", service.url)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    gs._client.cache_clear()
    yield service
    gs._client.cache_clear()


@pytest.fixture
def model(tmp_path):
    """Creates a model's folder; its content need not be loadable by TensorFlow."""

    def make(content: str) -> str:
        folder = tmp_path / f"model-{content}"
        (folder / "variables").mkdir(parents=True, exist_ok=True)
        (folder / "saved_model.pb").write_text(content)
        (folder / "variables" / "v").write_text(content)
        return str(folder)

    return make
