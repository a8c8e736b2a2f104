"""The stand-in world itself: what its hosts reach, what they do not, and that nothing is left."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time

import pytest

from tests.standins.locked import REPOSITORY
from tests.standins.world import cloud_world


@pytest.fixture(scope="module")
def world():
    with cloud_world() as world:
        yield world


def python(world, code, host="client", **options):
    done = world.run([sys.executable, "-c", textwrap.dedent(code)], host, timeout=300, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.split("\n")[:-1]


def test_the_storage_client_reads_writes_and_batches(world):
    world.storage.put("gs://bucket/client/a", b"put before")
    said = python(
        world,
        """
        from google.cloud import storage
        client = storage.Client()
        bucket = client.bucket("bucket")
        print(client.project, bucket.blob("client/a").download_as_text())
        bucket.blob("client/b").upload_from_string("text")
        with bucket.blob("client/c").open("wb") as file:
            file.write(b"x" * 3_000_000)
        with client.batch():
            bucket.blob("client/a").delete()
            bucket.blob("client/b").delete()
        print([blob.name for blob in bucket.list_blobs(prefix="client/")])
        """,
    )
    assert said == ["my-project put before", "['client/c']"]
    assert len(world.storage.get("gs://bucket/client/c")) == 3_000_000
    assert world.tokens.requests and world.storage.requests[-1].headers["authorization"]


def test_hosts_see_each_other_by_name_and_nothing_else(world):
    assert python(world, "import socket; print(socket.getfqdn())", "worker-2") == ["worker-2"]
    assert python(world, "import socket; print(socket.gethostbyname('worker-1'))") == [
        world.network.addresses["worker-1"]
    ]
    outside = "import socket; socket.create_connection(('192.0.2.2', 443), 2)"
    assert world.run([sys.executable, "-c", outside]).returncode != 0
    assert world.run([sys.executable, "-c", outside.replace("192.0.2.2", "pypi.org")]).returncode
    with pytest.raises(ValueError, match="no such host: 'worker-9'; there are client"):
        world.run(["true"], host="worker-9")


def left(name):
    listed = "ip netns list; ip -o link; ls /etc/netns"
    return name in subprocess.run(["sh", "-c", listed], capture_output=True, text=True).stdout


def test_a_killed_test_leaves_nothing(world):
    code = """
        from tests.standins.world import cloud_world
        with cloud_world(hosts=["alone"]) as world:
            world.start(["sleep", "600"], "alone")
            print(world.network.namespace("alone"), flush=True)
            input()
    """
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    killed = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    namespace = killed.stdout.readline().strip()
    assert left(namespace)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    until = time.monotonic() + 20
    while left(namespace.removesuffix("-alone")) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left(namespace.removesuffix("-alone"))
    assert left(world.network.namespace("client"))  # another's stays


def test_a_world_ends_at_once_whatever_was_under_way():
    send = """
        import socket, sys, time
        connection = socket.create_connection((sys.argv[1], 7))
        connection.settimeout(1)
        try:
            connection.sendall(b"x" * 100_000_000)  # nobody reads
        except TimeoutError:
            print("full", flush=True)
        time.sleep(600)
    """
    with contextlib.ExitStack() as later, cloud_world(hosts=["sender"]) as world:
        name, service = world.network.namespace("sender"), world.network.services[1]
        later.enter_context(socket.create_server((service, 7)))
        command = [sys.executable, "-c", textwrap.dedent(send), service]
        sender = world.start(command, "sender", stdout=subprocess.PIPE)
        assert sender.stdout.readline() == b"full\n"
    assert not left(name.removesuffix("-sender"))


@pytest.mark.slow
def test_beam_and_tensorflow_use_gs_paths_unmodified(world):
    said = python(
        world,
        """
        from apache_beam.io.gcp.gcsio import GcsIO
        store = GcsIO()
        for name in ("1", "2"):
            with store.open(f"gs://bucket/beam/{name}", "w") as file:
                file.write(b"1" * 100)
        print([error for *_, error in store.copy_batch(
            [("gs://bucket/beam/1", "gs://bucket/beam/3")])])
        print([error for *_, error in store.delete_batch(
            ["gs://bucket/beam/1", "gs://bucket/beam/none"])])
        store.rename("gs://bucket/beam/3", "gs://bucket/beam/4")
        print(sorted(dict(store.list_files("gs://bucket/beam/")).items()))

        import tensorflow as tf
        files = tf.io.gfile
        with files.GFile("gs://bucket/tf/1", "wb") as file:
            file.write(b"z" * 100_000)
            file.flush()
            file.write(b"more")
        print(len(files.GFile("gs://bucket/tf/1", "rb").read()))
        print(files.isdir("gs://bucket/tf"), files.glob("gs://bucket/t*/*"))
        files.makedirs("gs://bucket/d/e")
        print(files.isdir("gs://bucket/d/e"), files.exists("gs://bucket/none"))
        files.rename("gs://bucket/tf/1", "gs://bucket/tf/2")
        print(files.listdir("gs://bucket/tf"))
        files.rmtree("gs://bucket/tf")
        print(files.exists("gs://bucket/tf/2"))
        """,
    )
    assert said == [
        "[None]",
        "[None, None]",  # deleting what is not there is no error to Beam
        "[('gs://bucket/beam/2', 100), ('gs://bucket/beam/4', 100)]",
        "100004",
        "True ['gs://bucket/tf/1']",
        "True False",
        "['2']",
        "False",
    ]
