"""New versions, rollbacks and shutdowns under load."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.push.folder import FolderTarget
from tests.conftest import REPOSITORY
from tests.pipeline.serve.conftest import Server, b64, photo

BLACK = photo("black")


class Load:
    """Clients that ask without a pause, and what they got."""

    def __init__(self, server: Server, clients: int = 4):
        self._server = server
        self._stop = threading.Event()
        self.failures: list = []
        self.seen: list[float] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self):
        while not self._stop.is_set():
            try:
                status, content = self._server.predict(b64(BLACK))
            except Exception as error:  # a dropped connection is what this is looking for
                self.failures.append(error)
                continue
            if status == 200:
                self.seen.append(content["predictions"][0]["probabilities"][0])
            else:
                self.failures.append(content)

    def wait_for(self, probability: float, seconds: float = 60):
        deadline = time.monotonic() + seconds
        while not self.seen or self.seen[-1] != probability:
            assert time.monotonic() < deadline, f"{probability} was never served: {self.failures}"
            time.sleep(0.02)

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_versions_change_under_load_without_a_dropped_request(models, tmp_path):
    folder, broken = tmp_path / "serving", tmp_path / "broken"
    for made in (folder, broken):
        made.mkdir()
    (broken / "saved_model.pb").write_bytes(b"no model")
    target, server = FolderTarget(folder), Server(folder)

    assert "no version yet" in server.greeting, "an empty folder is waited for"
    for status, content in (server.ask("/healthz"), server.predict(b64(BLACK))):
        assert status == 503 and "is ready" in content["error"]
    target.push(str(models[1]))
    until(lambda: server.ask("/healthz")[0] == 200)

    with Load(server) as load:
        load.wait_for(0.1)
        target.push(str(broken))
        until(lambda: states(server)[0][2])
        assert [state[:2] for state in states(server)] == [("2", "END"), ("1", "AVAILABLE")]
        target.push(str(models[2]))
        load.wait_for(0.2)
        target.rollback("1")
        load.wait_for(0.1)
        status, _ = server.predict(b64(BLACK), path="/v1/models/pawprint/versions/3:predict")
        assert status == 404, "what was rolled back is not served by its number either"
        target.promote("3")
        load.wait_for(0.2)
    assert load.failures == [] and set(load.seen) == {0.1, 0.2}
    assert server.stop() == 0


def until(condition, seconds: float = 60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def states(server) -> list[tuple[str, str, str]]:
    """Version, state and error of every version, newest first."""
    found = server.ask("/v1/models/pawprint")[1]["model_version_status"]
    return [(v["version"], v["state"], v["status"]["error_message"]) for v in found]


def test_a_stopped_server_completes_requests_in_progress(slow_model):
    one = ("--max-batch", "1", "--threads", "1")
    server = Server(slow_model, *one, "--client-timeout", "0.5")  # a client that waits has no limit
    with ThreadPoolExecutor(4) as pool:
        started = time.monotonic()
        asked = [pool.submit(server.predict, b64(BLACK)) for _ in range(4)]
        time.sleep(0.3)
        server.process.terminate()
        assert [reply.result()[0] for reply in asked] == [200] * 4
        assert time.monotonic() - started > 0.6, "too fast to tell: they had all ended before"
    assert server.process.wait(20) == 0
    with pytest.raises(OSError):
        server.predict(b64(BLACK))


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--model", "none"], "no such folder: none"),
        (["--model", ".", "--port", "99999"], "cannot listen on 127.0.0.1:99999"),
        (["--model", ".", "--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
        (["--model", ".", "--max-batch", "0"], "must be 1 or more"),
        (["--model", ".", "--poll", "0"], "must be 0.01 or more"),
        ([], "required"),
    ],
)
def test_invalid_arguments_fail_before_tensorflow_is_imported(arguments, part):
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.serve", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and part in done.stderr
    assert time.monotonic() - started < 5


def test_the_server_imports_tensorflow_and_no_tfx():
    script = (
        "import sys, pipeline.serve.app\n"
        "found = {'tfx', 'tensorflow_transform', 'apache_beam'} & set(sys.modules)\n"
        "sys.exit(f'imported {found}' if found else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
