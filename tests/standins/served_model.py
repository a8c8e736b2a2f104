"""A SavedModel that answers as TensorFlow Serving's REST does, in a process with TensorFlow alone.

It is the prediction container of the stand-ins: https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_SERVER = """
import base64, json, sys
import tensorflow as tf
signatures = tf.saved_model.load(sys.argv[1]).signatures
def decoded(value):
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"])
    return [decoded(one) for one in value] if isinstance(value, list) else value
def answer(body):
    name = body.get("signature_name", "serving_default")
    if name not in signatures:
        raise ValueError(f"Serving signature name: {name!r} not found")
    (key, spec), *others = signatures[name].structured_input_signature[1].items()
    rows = [
        row[key] if isinstance(row, dict) and key in row and not others else row
        for row in body["instances"]
    ]
    outputs = signatures[name](**{key: tf.constant(decoded(rows), spec.dtype)})
    outputs = {key: value.numpy().tolist() for key, value in outputs.items()}
    text = lambda value: value.decode() if isinstance(value, bytes) else value
    return [
        {key: text(values[i]) for key, values in outputs.items()} for i in range(len(rows))
    ]
print("ready", flush=True)
for line in sys.stdin:
    try:
        reply = {"predictions": answer(json.loads(line))}
    except Exception as wrong:
        reply = {"error": str(wrong)}
    print(json.dumps(reply), flush=True)
"""


class ServedModel:
    """The process; it starts with the first request and ends with `close`."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._process: subprocess.Popen | None = None

    def predict(self, body: dict) -> dict:
        """`{"predictions": [...]}`, one per instance, or `{"error": message}`."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _SERVER, str(self._folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
            )
            if self._process.stdout.readline() != "ready\n":
                return {"error": f"the model in {self._folder} could not be loaded"}
        self._process.stdin.write(json.dumps(body) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()
