"""The REST of a server in a process of its own."""

import base64
import gzip
import json
import socket
import struct
import urllib.error
import urllib.request
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from data.record import records
from pipeline.push.folder import FolderTarget
from tests.conftest import shared
from tests.pipeline.serve.conftest import SIZE, Server, b64, photo

BLACK, WHITE = photo("black"), photo("white", "PNG")
PIXELS = [[[255, 255, 255]] * SIZE] * SIZE
PREDICT = "/v1/models/pawprint:predict"


def array(height: int, width: int, value: float) -> list:
    """Pixels as JSON has them: [height, width, 3]."""
    return [[[value] * 3] * width] * height


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "serving"
    for model in models.values():
        FolderTarget(folder).push(str(model))
    server = Server(folder, "--max-body-mb", "1", "--max-instances", "64")
    yield server
    assert server.stop() == 0


def answers(reply) -> list[str]:
    status, content = reply
    assert status == 200, content
    return [prediction["label"] for prediction in content["predictions"]]


def test_the_first_line_names_model_version_and_address(server):
    assert server.greeting.startswith("pawprint, version 2, at http://127.0.0.1:")
    assert server.ask("/healthz") == (200, {"status": "ok", "model": "pawprint", "version": 2})


@pytest.mark.parametrize(
    ("instance", "signature", "label"),
    [
        (b64(BLACK), None, "cat"),
        (b64(WHITE), None, "dog"),
        (b64(BLACK), "serving_jpeg", "cat"),
        ({"image_bytes": b64(BLACK)}, "serving_jpeg", "cat"),
        ({"b64": b64(WHITE)["b64"].replace("+", "-").replace("/", "_").rstrip("=")}, None, "dog"),
        (PIXELS, None, "dog"),
        (PIXELS, "serving_pixels", "dog"),
        (array(224, 224, 0), None, "cat"),
        (array(224, 224, 255), "serving_pixels", "dog"),
        (array(20, 31, 255), None, "dog"),
        (array(20, 31, 1), None, "cat"),
        ({"b64": base64.encodebytes(WHITE).decode()}, None, "dog"),
        (b64(photo("white", "WEBP")), None, "dog"),
        (b64(photo("white", "TIFF")), "serving_jpeg", "dog"),
        ({"pixels": array(1, 1, 254.5)}, "serving_pixels", "dog"),
        (b64(records.serialize({"image": WHITE})), None, "dog"),
        (b64(records.serialize({"image": BLACK, "label": 1})), "serving_default", "cat"),
        ({"examples": b64(records.serialize({"image": BLACK}))}, None, "cat"),
    ],
)
def test_every_form_of_an_instance_is_predicted(server, instance, signature, label):
    more = {"signature_name": signature} if signature else {}
    status, content = server.predict(instance, **more)
    assert status == 200, content
    assert content == {
        "predictions": [
            {"label": label, "label_index": int(label == "dog"), "probabilities": [0.2, 0.8]}
        ]
    }


@pytest.mark.parametrize(
    ("path", "probability"),
    [
        ("/v1/models/pawprint:predict", 0.2),
        ("/v1/models/pawprint/versions/1:predict", 0.1),
        ("/v1/models/pawprint/labels/stable:predict", 0.2),
        ("/v1/projects/p/models/pawprint:predict", 0.2),
        ("/v1/projects/p/models/pawprint/versions/v1:predict", 0.1),
        ("/v1/projects/p/locations/europe-west4/endpoints/77:predict", 0.2),
    ],
)
def test_every_path_selects_its_version(server, path, probability):
    status, content = server.predict(b64(BLACK), path=path)
    assert status == 200, content
    assert content["predictions"][0]["probabilities"][0] == probability


def test_vertex_names_the_deployed_model_and_wraps_errors(server):
    path = "/v1/projects/p/locations/l/endpoints/77:predict"
    _, content = server.predict(b64(BLACK), path=path)
    assert content["deployedModelId"] == "2" and content["modelVersionId"] == "2"
    status, content = server.predict(path=path)
    assert status == content["error"]["code"] == 400
    assert content["error"]["status"] == "INVALID_ARGUMENT"


def test_status_lists_the_versions_newest_first(server):
    server.predict(b64(BLACK), path="/v1/models/pawprint/versions/1:predict")
    status, content = server.ask("/v1/models/pawprint")
    found = content["model_version_status"]
    assert status == 200 and [v["version"] for v in found] == ["2", "1"]
    assert {v["state"] for v in found} == {"AVAILABLE"}
    status, content = server.ask("/v1/models/pawprint/versions/2")
    assert [v["version"] for v in content["model_version_status"]] == ["2"]


def test_metadata_describes_the_signatures(server):
    status, content = server.ask("/v1/models/pawprint/metadata")
    assert status == 200
    assert content["model_spec"] == {"name": "pawprint", "signature_name": "", "version": "2"}
    described = content["metadata"]["signature_def"]["signature_def"]
    assert sorted(described) == ["serving_default", "serving_jpeg", "serving_pixels"]
    (image,) = described["serving_jpeg"]["inputs"].values()
    assert image["dtype"] == "DT_STRING"


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        (b"", 400, "not JSON"),
        (b"{]", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"[1]", 400, "the body is an array"),
        ({}, 400, "instances must be a non-empty list"),
        ({"instances": []}, 400, "instances must be a non-empty list"),
        ({"instance": [1]}, 400, "unknown key 'instance'"),
        ({"instances": [b64(BLACK)], "signature_name": 7}, 400, "must be a string"),
        ({"instances": [b64(BLACK)], "signature_name": "nix"}, 400, "no signature 'nix'"),
        ({"instances": [b64(BLACK)] * 65}, 413, "at most 64"),
        ({"instances": ["x" * (1 << 20)]}, 413, "larger than"),
        ({"instances": ["x" * (7 << 20)]}, 413, "larger than"),
        ({"instances": [[1, 2]]}, 400, "takes an array [height, width, 3]; received [2]"),
        ({"instances": [[]]}, 400, "takes an array [height, width, 3]; received [0]"),
        ({"instances": [[[], []]]}, 400, "takes an array [height, width, 3]; received [2, 0]"),
        ({"instances": [[[[1, 2, 3, 4]]]]}, 400, "[height, width, 3]; received [1, 1, 4]"),
        ({"instances": [array(1, 2, 0) + array(1, 3, 0)]}, 400, "rows differ in length"),
        ({"instances": [PIXELS, [[1], [1, 2]]]}, 400, "[1]: serving_pixels takes an array"),
        ({"instances": [[[[256, 0, 0]] * SIZE] * SIZE]}, 400, "pixels must be 0 to 255"),
        (b'{"instances": [[[[NaN]]]]}', 400, "NaN is not a number"),
        ({"instances": [b64(BLACK), "text"]}, 400, "[1]: serving_jpeg takes bytes"),
        ({"instances": [{"b64": "?"}], "signature_name": "serving_jpeg"}, 400, "not valid base64"),
        (
            {"instances": [b64(b"GIF89a")], "signature_name": "serving_jpeg"},
            400,
            "begins with b'GIF",
        ),
        ({"instances": [b64(b"")], "signature_name": "serving_jpeg"}, 400, "empty"),
        ({"instances": [array(2, 2, 0.5)]}, 400, "multiply them by 255"),
        ({"instances": [[1]], "inputs": [[1]]}, 400, "send one of them"),
        ({"inputs": {"nix": [b64(BLACK)]}}, 400, "no input 'nix'; inputs: examples, image_bytes"),
        ({"inputs": {}}, 400, "inputs must be a non-empty list"),
        ({"instances": [b64(BLACK[:200])]}, 400, "instances[0]: "),
        ({"instances": [b64(b"GIF89a")]}, 400, "neither a serialized tf.train.Example"),
        ({"instances": [b64(records.serialize({"label": 1}))]}, 400, "no feature 'image'"),
        ({"instances": [{"a": 1, "b": 2}]}, 400, "has one input, 'examples'; received a, b"),
        (b'{"instances": [{"\\ud800": 1, "b": 2}]}', 400, "received b, \ud800"),
        ({"instances": [[[["1", "2", "3"]] * SIZE] * SIZE]}, 400, "values that are not numbers"),
        ({"instances": [[[[None, 2, 3]] * SIZE] * SIZE]}, 400, "values that are not numbers"),
        ({"instances": [[[[True] * 3] * SIZE] * SIZE]}, 400, "values that are not numbers"),
    ],
)
def test_an_invalid_request_gets_an_error_that_says_why(server, body, status, part):
    found, content = server.ask(PREDICT, body)
    assert found == status and part in content["error"], content
    assert answers(server.predict(b64(BLACK))) == ["cat"], "the server is well"


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("/v1/models/pawprint/versions/9:predict", "no version 9 of the model; versions: 1, 2"),
        ("/v1/models/pawprint/versions/x:predict", "versions are numbers"),
        (f"/v1/models/pawprint/versions/{'9' * 5000}:predict", "versions are numbers"),
        ("/v1/models/pawprint/labels/x:predict", "labels: stable, latest"),
        ("/v1/models/other:predict", "no model 'other'; this server serves 'pawprint'"),
        ("/v1/nothing", "predictions are at POST /v1/models/NAME:predict"),
    ],
)
def test_unknown_names_get_404(server, path, part):
    status, content = server.predict(b64(BLACK), path=path)
    assert status == 404 and part in content["error"]


@pytest.mark.parametrize("of", ["", "/versions/1", "/labels/stable"])
def test_a_prediction_by_get_gets_405(server, of):
    status, content = server.ask(f"/v1/models/pawprint{of}:predict")
    assert status == 405 and "GET" in content["error"]


def bomb() -> bytes:
    """Claims 60,000 x 60,000 pixels, which the last bytes of a PNG's first chunk tell."""
    size = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size)


def chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def grown(before: bytes) -> bytes:
    """A JPEG that claims 60,000 x 60,000 pixels, with something before its frame."""
    frame = BLACK.index(b"\xff\xc0")
    size = struct.pack(">HH", 60_000, 60_000)
    return BLACK[:frame] + before + BLACK[frame : frame + 5] + size + BLACK[frame + 9 :]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (bomb(), "too many pixels"),
        (bomb()[:8] + chunk(b"abCd", b"\0" * 13) + bomb()[8:], "instead of IHDR"),
        *((grown(before), "too many pixels") for before in (b"", b"\0\0", b"\xff", b"\xff\xd0ab")),
        (grown(b"\xff\xe1\0\0"), "too many pixels"),
    ],
    ids=["png", "png-chunk-before", "jpeg", "stray-bytes", "fill-byte", "no-length", "short"],
)
def test_a_decompression_bomb_is_rejected_by_its_header(server, content, part):
    status, answer = server.predict(b64(content), signature_name="serving_jpeg")
    assert status == 400 and part in answer["error"]


def test_a_damaged_photo_fails_its_own_request_only(server):
    broken = BLACK[: len(BLACK) * 2 // 3]

    def ask(number):
        return server.predict(b64(broken if number % 8 == 3 else BLACK))

    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(ask, range(160)))
    for number, (status, content) in enumerate(replies):
        assert status == (400 if number % 8 == 3 else 200), content
    assert "instances[0]: " in replies[3][1]["error"] and "node" not in replies[3][1]["error"]


def test_concurrent_clients_get_their_own_predictions(server):
    def ask(number):
        colours = [number >> bit & 1 for bit in range(5)]
        return colours, answers(server.predict(*(b64(WHITE if c else BLACK) for c in colours)))

    with ThreadPoolExecutor(16) as pool:
        for colours, labels in pool.map(ask, range(200)):
            assert labels == ["dog" if colour else "cat" for colour in colours]


def test_arrays_of_several_sizes_in_one_request_keep_their_order(server):
    sides = [(20 + number % 5, 20 + number % 3) for number in range(40)]
    values = [255 * (number % 4 == 1) for number in range(40)]
    sent = [array(*side, value) for side, value in zip(sides, values, strict=True)]
    assert answers(server.predict(*sent)) == ["dog" if value else "cat" for value in values]


def test_an_array_of_an_invalid_shape_fails_its_own_request_only(server):
    def ask(number):
        if number % 8 == 3:
            return server.predict(array(9, 9, 255), [*array(9, 9, 255)[:4], [1]])
        return server.predict(array(8 + number % 3, 9, 255))

    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(ask, range(80)))
    for number, (status, content) in enumerate(replies):
        assert status == (400 if number % 8 == 3 else 200), content
    assert (
        "instances[1]: serving_pixels takes an array [height, width, 3]" in (replies[3][1]["error"])
    )


@pytest.mark.parametrize(
    "inputs",
    [
        [b64(BLACK), b64(WHITE)],
        {"image_bytes": [b64(BLACK), b64(WHITE)]},
        {"pixels": [array(4, 4, 0), array(4, 4, 255)]},
    ],
)
def test_column_format(server, inputs):
    assert server.ask(PREDICT, {"inputs": inputs}) == (
        200,
        {
            "outputs": {
                "label": ["cat", "dog"],
                "label_index": [0, 1],
                "probabilities": [[0.2, 0.8], [0.2, 0.8]],
            }
        },
    )


def test_requests_of_tensorflow_serving_clients(server):
    for path in sorted(shared("cases", "tfserving-requests").glob("*.json")):
        status, content = server.ask(PREDICT, path.read_bytes())
        assert status == 200, (path.name, content)
        assert ("outputs" in content) == (path.name == "inputs.json")


def test_a_gzip_body_is_decompressed_up_to_the_limit(server):
    def ask(body: bytes, encoding="gzip"):
        headers = {"Content-Encoding": encoding}
        request = urllib.request.Request(server.url + PREDICT, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]

    packed = gzip.compress(json.dumps({"instances": [b64(WHITE)]}).encode())
    assert answers(ask(packed)) == ["dog"]
    assert ask(packed[:-9]) == (400, "the body is not valid gzip: it is truncated")
    assert ask(b"{}")[1].startswith("the body is not valid gzip: ")
    assert ask(gzip.compress(bytes(100 << 20)))[0] == 413
    assert ask(packed, "br") == (415, "Content-Encoding 'br' is not supported; send gzip")


def test_other_host_names_are_rejected(server):
    request = urllib.request.Request(f"{server.url}/healthz", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)
    request = urllib.request.Request(f"{server.url}/healthz", headers={"Host": "localhost:1"})
    assert urllib.request.urlopen(request).status == 200


def test_disconnecting_clients_do_not_affect_others(server):
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps({"instances": [b64(BLACK)]})
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    for text in (head, head + body[:100], head + body):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(text.encode())
    assert answers(server.predict(b64(BLACK))) == ["cat"]
