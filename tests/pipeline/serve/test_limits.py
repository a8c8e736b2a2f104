"""Limits for clients that are slow, stall, disconnect or come in large numbers."""

import contextlib
import gzip
import io
import json
import resource
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest
from PIL import Image

from tests.pipeline.serve.conftest import Server, b64, photo

PREDICT = "/v1/models/pawprint:predict"
BODY = json.dumps({"instances": [b64(photo())]}).encode()
LATE = (408, '{"error": "the request took too long to arrive"}')


def head(*lines: str, length: int = len(BODY), path: str = PREDICT) -> bytes:
    """The header of a request whose body has a length."""
    first = (f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {length}")
    return "\r\n".join([*first, *lines, "", ""]).encode()


def reply(connection: socket.socket) -> tuple[int, str]:
    """Status and text of the last reply before the server closes; 0 where there is none."""
    connection.settimeout(30)
    content = b""
    while part := connection.recv(1 << 16):
        content += part
    last = content.decode().rpartition("HTTP/1.1 ")[2]
    return int(last[:3] or 0), last.rpartition("\r\n\r\n")[2]


@pytest.fixture(scope="module")
def strict(models):
    """A server that waits a second and may have few files open, at first, on 127.0.0.2."""
    server = Server(models[1], "--client-timeout", "1", "--host", "127.0.0.2", files=(256, 2048))
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def patient(models):
    """A server that waits a minute and may never have many files open, on ::1."""
    server = Server(models[1], "--host", "::1", "--max-body-mb", "200", files=(256, 256))
    yield server
    assert server.stop() == 0


@pytest.mark.parametrize(
    "header",
    [
        head(f"X-Much: {'x' * 70_000}"),
        head(*(f"X-{n}: {'x' * 100}" for n in range(700))),
        head(path="/" + "x" * 70_000),
        head(f"X-Endless: {'x' * 2_000_000}")[:-4],
    ],
    ids=["one-line", "many-lines", "path", "endless"],
)
def test_a_header_over_the_limit_is_refused(strict, header):
    with strict.connect() as connection:
        connection.sendall(header)
        status, text = reply(connection)
    assert status == 431 and "larger than the limit of 65536 bytes" in text
    assert strict.ask("/healthz")[0] == 200


def test_a_header_under_the_limit_is_taken(strict):
    with strict.connect() as connection:
        connection.sendall(head(f"X-Much: {'x' * 60_000}", "Connection: close") + BODY)
        assert reply(connection)[0] == 200


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"", (0, "")),
        (head()[:40], LATE),
        (head() + BODY[:100], LATE),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + head()[:40], LATE),
    ],
    ids=["nothing", "half-header", "half-body", "half-second-request"],
)
def test_an_incomplete_request_times_out(strict, sent, told):
    with strict.connect() as connection:
        connection.sendall(sent)
        assert reply(connection) == told


def test_a_slow_request_times_out(strict):
    with strict.connect() as connection, contextlib.suppress(ConnectionError):
        for byte in head() + BODY:
            connection.sendall(bytes([byte]))
            time.sleep(0.05)
        pytest.fail("it has arrived")


def test_a_disconnected_client_is_one_line_in_the_log(strict):
    before = strict.log()
    with strict.connect() as connection:
        connection.sendall(head() + BODY[:100])
    deadline = time.monotonic() + 20
    while not (lines := strict.log().removeprefix(before).splitlines()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert strict.ask("/healthz")[0] == 200
    assert strict.log().removeprefix(before).splitlines() == lines
    assert len(lines) == 1 and "disconnected before the request was complete" in lines[0]


def test_the_limit_of_open_files_is_raised_to_the_hard_limit(strict):
    assert resource.prlimit(strict.process.pid, resource.RLIMIT_NOFILE) == (2048, 2048)


def test_many_idle_clients_do_not_block_others(patient):
    with contextlib.ExitStack() as crowd:
        for number in range(600):
            connection = crowd.enter_context(patient.connect())
            with contextlib.suppress(ConnectionError):  # it was closed already
                connection.sendall(head()[: 40 * (number % 2)])
        for _ in range(20):
            started = time.monotonic()
            assert patient.ask(PREDICT, BODY, timeout=20)[0] == 200
            assert time.monotonic() - started < 5


@pytest.mark.parametrize("server", ["strict", "patient"])
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:1", 200),
        ("127.0.0.1", 200),
        ("[::1]:8501", 200),
        ("[::2]:8501", 400),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
    ],
)
def test_other_host_names_are_rejected_on_loopback_addresses(request, server, host, status):
    asked = request.getfixturevalue(server)
    sent = urllib.request.Request(f"{asked.url}/healthz", headers={"Host": host})
    try:
        found = urllib.request.urlopen(sent, timeout=20).status
    except urllib.error.HTTPError as error:
        found = error.code
    assert found == status
    assert asked.ask("/healthz")[0] == 200, "its own address"


def packed() -> bytes:
    return gzip.compress(b"x" * (150 << 20), 1)


def other_photo() -> bytes:
    content = io.BytesIO()
    Image.new("L", (6000, 6000)).save(content, "GIF")
    return json.dumps({"inputs": {"image_bytes": [b64(content.getvalue())]}}).encode()


def many_photos() -> bytes:
    large = b64(photo() + bytes(400_000))
    return json.dumps({"instances": [large] * 200 + [{"b64": "?"}]}).encode()


@pytest.mark.parametrize(
    ("make", "encoding", "status"),
    [(packed, "gzip", 400), (other_photo, "identity", 200), (many_photos, "identity", 400)],
)
def test_a_request_that_is_slow_to_parse_does_not_block_others(patient, make, encoding, status):
    body, waits, done = make(), [0.0], threading.Event()

    def look():
        while not done.is_set():
            started = time.monotonic()
            patient.ask("/healthz")
            waits.append(time.monotonic() - started)

    looking = threading.Thread(target=look)
    looking.start()
    sent = urllib.request.Request(patient.url + PREDICT, body, {"Content-Encoding": encoding})
    started = time.monotonic()
    try:
        found = urllib.request.urlopen(sent, timeout=60).status
    except urllib.error.HTTPError as error:
        found = error.code
    took = time.monotonic() - started
    done.set()
    looking.join()
    assert found == status
    assert max(waits) < 0.75 * took, "a blocked server answers when the request is done"


def test_a_stalled_request_does_not_delay_shutdown(patient):  # the last that asks this server
    with patient.connect() as connection:
        connection.sendall(head() + BODY[:100])
        assert patient.ask("/healthz")[0] == 200, "and the server has seen the other request"
        patient.process.terminate()
        assert reply(connection) == LATE
    assert patient.process.wait(20) == 0
