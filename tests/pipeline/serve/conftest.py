"""Servers in processes of their own, with models that are made in a moment."""

import base64
import io
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import REPOSITORY

SIZE = 150


def save_model(path: Path, mark: float, work: int = 0, side: int | None = None) -> Path:
    """A SavedModel with pawprint's signatures; `mark` is the probability of "cat".

    The label is "dog" for a photo that is bright; `work` makes every answer take longer. Arrays
    may have any size, or `side` alone, as in models that an earlier version exported.
    """
    import tensorflow as tf

    module = tf.Module()

    def answer(pixels):
        waste = tf.while_loop(
            lambda step, matrix: step < work,
            lambda step, matrix: (step + 1, tf.linalg.matmul(matrix, matrix) * 1e-3),
            (tf.constant(0), tf.random.uniform([128, 128])),
        )[1]
        bright = tf.reduce_mean(pixels, axis=[1, 2, 3]) > 127
        probability = tf.fill(tf.shape(bright), mark) + 0 * tf.reduce_sum(waste)
        return {
            "label": tf.where(bright, "dog", "cat"),
            "label_index": tf.cast(bright, tf.int64),
            "probabilities": tf.stack([probability, 1 - probability], axis=1),
        }

    def photos(image_bytes):
        def one(photo):
            pixels = tf.io.decode_jpeg(photo, channels=3)
            return tf.image.resize(pixels, [SIZE, SIZE])

        return answer(tf.map_fn(one, image_bytes, fn_output_signature=tf.float32))

    def examples(examples):
        spec = {"image": tf.io.FixedLenFeature([], tf.string)}
        return photos(tf.io.parse_example(examples, spec)["image"])

    strings, pixels = tf.TensorSpec([None], tf.string), tf.TensorSpec([None, side, side, 3])
    tf.saved_model.save(
        module,
        str(path),
        signatures={
            "serving_default": tf.function(examples).get_concrete_function(examples=strings),
            "serving_jpeg": tf.function(photos).get_concrete_function(image_bytes=strings),
            "serving_pixels": tf.function(answer).get_concrete_function(pixels=pixels),
        },
    )
    return path


def photo(colour="black", kind="JPEG", size=(40, 30)) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, kind)
    return content.getvalue()


def b64(content: bytes) -> dict:
    return {"b64": base64.b64encode(content).decode()}


class Server:
    """`python -m pipeline.serve` as a user starts it.

    Args:
        model: what is served.
        arguments: further ones of the command.
        files: how many may be open, and how many it may ask for; None for as many as here.
    """

    def __init__(self, model: Path, *arguments: str, files: tuple[int, int] | None = None):
        command = [sys.executable, "-m", "pipeline.serve", "--model", str(model), "--port", "0"]
        self._log, name = tempfile.mkstemp()  # a pipe that nobody reads would fill
        os.unlink(name)
        self.process = subprocess.Popen(
            [*command, "--poll", "0.1", *arguments],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
            preexec_fn=lambda: files and resource.setrlimit(resource.RLIMIT_NOFILE, files),
        )
        self.greeting = self.process.stdout.readline()
        assert " at http://" in self.greeting, self.log()
        self.url = self.greeting.rsplit(" at ", 1)[1].strip()

    def log(self) -> str:
        """What the server has written to its standard error so far."""
        return os.pread(self._log, os.fstat(self._log).st_size, 0).decode()

    def connect(self) -> socket.socket:
        """A connection on which nothing was sent yet."""
        address = urllib.parse.urlsplit(self.url)
        return socket.create_connection((address.hostname, address.port))

    def ask(self, path: str, body=None, timeout: float = 60):
        """Status and JSON of a reply; `body` as JSON, or bytes as they are."""
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=content)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def predict(self, *instances, path="/v1/models/pawprint:predict", **more):
        return self.ask(path, {"instances": list(instances), **more})

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> dict[int, Path]:
    """SavedModels whose probability of "cat" is a tenth of their number."""
    folder = tmp_path_factory.mktemp("models")
    return {number: save_model(folder / str(number), number / 10) for number in (1, 2)}


@pytest.fixture(scope="session")
def slow_model(tmp_path_factory) -> Path:
    """A model that takes about a second to answer."""
    return save_model(tmp_path_factory.mktemp("slow") / "model", 0.5, work=5000)
