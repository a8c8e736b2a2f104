"""Uploads of models to Cloud Storage."""

import pytest

from pipeline.push.target import PushError
from pipeline.push.upload import model_digest, upload_model

AT = "gs://bucket/models"


def sent(storage) -> list[str]:
    """The uploaded objects in their order."""
    uploads = [r for r in storage.requests if r.method in ("POST", "PUT") and "upload" in r.path]
    return [
        "saved_model.pb" if b"saved_model.pb" in r.body else "variables/v"
        for r in uploads
        if b"/saved_model.pb" in r.body or b"/variables/v" in r.body
    ]


@pytest.fixture(autouse=True)
def _forgotten(storage):
    storage.requests.clear()
    yield
    storage.recover()


def test_the_address_follows_from_the_content_and_the_graph_goes_last(model, storage):
    address = upload_model(model("a"), AT)
    assert storage.names(f"{address}/") == ["saved_model.pb", "variables/v"]
    assert sent(storage) == ["variables/v", "saved_model.pb"]
    assert upload_model(model("a"), AT) == address and len(sent(storage)) == 2, "sent once"
    assert upload_model(model("b"), AT) != address
    assert model_digest(address) == model_digest(model("a")), "the same wherever it lies"


def test_a_model_in_cloud_storage_is_not_uploaded(model, storage):
    address = upload_model(model("a"), "gs://bucket/run/Trainer/model/6")
    assert upload_model(address, AT) == address and storage.names(f"{AT}/") == []


def test_an_interrupted_upload_is_completed(model, storage):
    storage.fail(lambda r: b"/saved_model.pb" in r.body, 403)
    with pytest.raises(PushError, match=r"could not be uploaded: gs://.*model.pb: 403 .*told to"):
        upload_model(model("a"), AT)
    storage.recover()
    storage.requests.clear()
    address = upload_model(model("a"), AT)
    assert sent(storage) == ["saved_model.pb"]
    storage.put(f"{address}/variables/v", b"spoilt")
    upload_model(model("a"), AT)
    assert storage.get(f"{address}/variables/v") == b"a"
