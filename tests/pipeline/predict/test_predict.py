"""`python -m pipeline.predict` and other clients, against real servers."""

import base64
import http.server
import json
import subprocess
import sys
import threading
import urllib.request

import pytest

from pipeline.predict import remote
from pipeline.predict.client import predict as predict_photos
from pipeline.predict.prediction import Failure, ModelError, Prediction, parse_outputs
from pipeline.predict.remote import RemoteModel
from pipeline.push.folder import FolderTarget
from tests.conftest import REPOSITORY
from tests.pipeline.serve.conftest import SIZE, Server, models, photo

__all__ = ["models"]  # the fixture


def predict(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "pipeline.predict", *map(str, arguments)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def folder(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predict") / "serving"
    for model in models.values():
        FolderTarget(folder).push(str(model))
    return folder


@pytest.fixture(scope="module")
def server(folder):
    server = Server(folder)
    yield server
    server.stop()


@pytest.fixture
def pictures(tmp_path):
    """A dark photo, a bright one, one that only Pillow reads, and two that nobody does."""
    (tmp_path / "dark.jpg").write_bytes(photo("black"))
    (tmp_path / "bright.png").write_bytes(photo("white", "PNG"))
    (tmp_path / "bright.gif").write_bytes(photo("white", "GIF"))
    (tmp_path / "half.jpg").write_bytes(photo("black")[:300])
    (tmp_path / "letter.jpg").write_text("dear model")
    return tmp_path


GOOD = ("dark.jpg", "bright.png", "bright.gif")
PATHS = (
    "",
    "/",
    "/v1/models/pawprint",
    "/v1/models/pawprint:predict",
    "/v1/models/pawprint/labels/latest",
    "/v1/projects/p/models/pawprint/versions/v2",
    "/v1/projects/p/locations/l/endpoints/7:predict",
)


@pytest.mark.parametrize("path", PATHS)
def test_any_form_of_url(server, pictures, path):
    done = predict(server.url + path, *(pictures / name for name in GOOD))
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["label", "probability", "photo"]
    assert [line[:2] for line in lines[1:]] == [
        ["cat", "0.800"],
        ["dog", "0.800"],
        ["dog", "0.800"],
    ]


def test_a_serving_folder_and_a_savedmodel(folder, models, pictures):
    paths = [pictures / "dark.jpg", pictures / "letter.jpg", pictures / "bright.png"]
    for model, probability in ((folder, 0.8), (models[1], 0.9)):
        assert predict_photos(str(model), paths) == [
            Prediction("cat", pytest.approx(probability)),
            Failure("not an image"),
            Prediction("dog", pytest.approx(probability)),
        ]


@pytest.mark.parametrize("where", ["server", "folder"])
def test_a_damaged_photo_fails_alone(where, pictures, request):
    given = request.getfixturevalue(where)
    names = ("half.jpg", "dark.jpg", "letter.jpg", "none.jpg")
    done = predict(getattr(given, "url", given), *(pictures / name for name in names))
    assert done.returncode == 1
    rows = done.stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["error", "cat", "error", "error"]
    for row, reason in ((0, "cannot be decoded"), (2, "not an image"), (3, "No such file")):
        assert reason in rows[row] and names[row] in rows[row]
    assert done.stderr == "error: 3 of 4 photos have no prediction\n"


@pytest.mark.parametrize(
    ("model", "part"),
    [
        ("http://127.0.0.1:9", "cannot reach http://127.0.0.1:9"),
        ("http://x.googleapis.com/v1/models/a", "x.googleapis.com requires https"),
        ("nowhere", "no such folder: nowhere"),
        (".", "is neither a SavedModel nor a folder of versions"),
        ("{url}/v1/models/other", "replied 404: no model 'other'"),
        ("{url}/v1/models/pawprint/versions/9", "replied 404: no version 9"),
    ],
)
def test_an_unavailable_model(server, pictures, model, part):
    done = predict(model.format(url=server.url), pictures / "dark.jpg")
    assert done.returncode == 2 and part in done.stderr and done.stdout == ""


@pytest.mark.parametrize(
    "outputs", [{"label": "cat", "probabilities": []}, {"label": "cat"}, [1], "cat", None, {}]
)
def test_outputs_of_another_form_are_a_failure(outputs):
    assert parse_outputs(outputs).reason.startswith("the model's outputs have no label and prob")


def test_a_server_that_is_not_a_model_server(pictures):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def do_GET(self):
            self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{other.server_port}"
        for path, part in (("", "pass the URL of the model"), ("/x", "is it a model server?")):
            done = predict(url + path, pictures / "dark.jpg")
            assert done.returncode == 2 and part in done.stderr
        other.shutdown()


def test_a_client_that_sends_arrays(server, pictures):
    """A JPEG as a JSON array [150, 150, 3], as the published workflow sends its photos."""
    import numpy as np
    from PIL import Image

    image = np.array(Image.open(pictures / "dark.jpg").resize((SIZE, SIZE)))
    assert image.shape == (150, 150, 3)
    path = "/v1/projects/demo/models/pawprint/versions/v1:predict"
    status, content = server.ask(path, {"instances": [image.tolist()]})
    assert status == 200 and content["predictions"][0]["label"] == "cat"


def test_a_proxy_is_named_without_its_password(monkeypatch):
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.setenv("http_proxy", "http://me:secret@127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ModelError, match=r"through the proxy 127.0.0.1:9 .HTTP_PROXY.") as raised:
        RemoteModel("http://model.example")
    assert "secret" not in str(raised.value)
    monkeypatch.setattr(urllib.request, "_opener", None)


def test_a_redirect_does_not_send_the_token_to_another_server(monkeypatch):
    monkeypatch.setattr(remote, "_authorization", lambda parts: "Bearer token")
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.server is here, self.headers["Authorization"]))
            self.send_response(302 if self.server is here else 404)
            self.send_header("Location", f"http://127.0.0.1:{there.server_port}/")
            self.end_headers()

        def log_message(self, *_):
            pass

    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    here, there = servers
    for each in servers:
        threading.Thread(target=each.serve_forever, daemon=True).start()
    with pytest.raises(ModelError):
        RemoteModel(f"http://127.0.0.1:{here.server_port}")
    assert seen == [(True, "Bearer token"), (False, None)]
    for each in servers:
        each.shutdown()
        each.server_close()


@pytest.mark.slow
def test_google_cloud_client(server, pictures):
    from google.api_core.client_options import ClientOptions
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform_v1
    from google.protobuf import json_format, struct_pb2

    client = aiplatform_v1.PredictionServiceClient(
        transport="rest",
        credentials=AnonymousCredentials(),
        client_options=ClientOptions(api_endpoint=server.url),
    )
    endpoint = "projects/p/locations/l/endpoints/7"
    body = json.dumps({"b64": base64.b64encode(photo("white")).decode()})
    instance = json_format.Parse(body, struct_pb2.Value())
    reply = client.predict(endpoint=endpoint, instances=[instance])
    assert dict(reply.predictions[0])["label"] == "dog"
    assert reply.deployed_model_id == "2"
    with pytest.raises(Exception, match="neither a serialized"):
        wrong = json_format.Parse('{"b64": "////"}', struct_pb2.Value())
        client.predict(endpoint=endpoint, instances=[wrong])
