"""A stand-in of Cloud Storage as a fixture."""

import re

import pytest

from tests.data.stored import Store
from tests.standins.accounts import TokenStandIn, forget_login


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """A stand-in for the client of this process, with a real login at a local token service."""
    from data.storage import gs

    with Store("bucket", page=7) as service, TokenStandIn() as tokens:
        key = tokens.write_key(tmp_path_factory.mktemp("key") / "key.json")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", service.url)
            patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
            patch.setenv("NO_GCE_CHECK", "true")
            gs._client.cache_clear()
            forget_login()
            yield service
            gs._client.cache_clear()
            forget_login()


@pytest.fixture
def bucket(storage, request):
    """The URI of a new folder in the store, and the store."""
    storage.requests.clear()
    return f"gs://bucket/{re.sub('[^a-z]+', '-', request.node.name)}", storage
