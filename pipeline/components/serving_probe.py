"""Loads a SavedModel like a model server and tests it; runs as a script in a separate process.

Only TensorFlow may be imported. Importing another library of the pipeline raises ImportError, so a
model that needs one fails here and not in production.

    python -I serving_probe.py MODEL RECORDS REFERENCE SETTINGS RESULT

    MODEL      SavedModel folder
    RECORDS    TFRecord file of raw examples
    REFERENCE  .npz file of the trained model's predictions (`pixels` and `probabilities`), or a
               path that does not exist
    SETTINGS   JSON object with `labels`, `image_size` and the fields of `ServingConfig`
    RESULT     receives {"checks": [{"name", "passed", "value", "bound"}]}
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

_FORBIDDEN = {
    "apache_beam",
    "data",
    "models",
    "pipeline",
    "struct2tensor",
    "tensorflow_data_validation",
    "tensorflow_model_analysis",
    "tensorflow_text",
    "tensorflow_transform",
    "tfx",
    "tfx_bsl",
}
_SIGNATURES = ("serving_default", "serving_jpeg", "serving_pixels")
_BATCH_TOLERANCE = 1e-3
_OTHER_SIDES = (150, 96)
"""Candidate heights of the images that test resizing; the first that is not the model's is used."""


class _Sample(NamedTuple):
    """One example in the forms that the signatures take."""

    record: bytes
    file: bytes
    """Encoded image file."""
    image: Any
    """Tensor, uint8 [height, width, 3]."""


class _ImportBlocker:
    """Import hook that rejects the pipeline's libraries."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] in _FORBIDDEN:
            raise ImportError(f"a served model must not import {name}")


def main(model: str, records: str, reference: str, settings: str, result: str) -> None:
    """Runs every check and writes the result; a check that raises has failed."""
    sys.meta_path.insert(0, _ImportBlocker())
    import tensorflow as tf

    checks: list[dict[str, Any]] = []

    def check(name: str, passed: bool, value: object, bound: object) -> None:
        checks.append({"name": name, "passed": bool(passed), "value": value, "bound": bound})

    options = json.loads(Path(settings).read_text())
    try:
        probe = _Probe(tf, model, options, check)
        if probe.check_signatures():
            samples = _read_samples(tf, records)
            requests = _requests(tf, samples, options["image_size"])
            probe.check_predictions(requests)
            probe.check_resizing([sample.image for sample in samples])
            probe.check_reference(Path(reference))
            probe.check_invalid_requests(requests)
            probe.check_latency(requests)
            probe.check_memory()
    except Exception as error:  # Any error of the model is a reason to refuse it.
        check("answers requests", False, f"{type(error).__name__}: {error}"[:2000], "no error")
    Path(result).write_text(json.dumps({"checks": checks}, indent=1))


class _Probe:
    """A loaded SavedModel and its checks.

    Args:
        tf: the module `tensorflow`.
        path: SavedModel folder.
        options: content of SETTINGS.
        check: records the outcome of a check: name, passed, value, bound.
    """

    def __init__(
        self,
        tf: ModuleType,
        path: str,
        options: dict[str, Any],
        check: Callable[[str, bool, object, object], None],
    ):
        started = time.monotonic()
        import numpy as np

        self._np, self._tf, self._options, self._check = np, tf, options, check
        self._refusals = (tf.errors.InvalidArgumentError, TypeError, ValueError)
        self._model = tf.saved_model.load(path)
        seconds = round(time.monotonic() - started, 2)
        check("loads with TensorFlow alone (s)", True, seconds, options["timeout_s"])

    def check_signatures(self) -> bool:
        """Checks that all signatures exist; returns whether they do."""
        present = [name for name in _SIGNATURES if name in self._model.signatures]
        self._check("signatures", present == [*_SIGNATURES], present, [*_SIGNATURES])
        return present == [*_SIGNATURES]

    def check_predictions(self, requests: dict[str, list[Any]]) -> None:
        """Checks that predictions agree across signatures and batch sizes, and their labels."""
        outputs = {name: self._predict(name, batch) for name, batch in requests.items()}
        reference = outputs["serving_default"]["probabilities"]
        bound = self._options["max_probability_difference"]
        for name in _SIGNATURES[1:]:
            difference = _max_difference(outputs[name]["probabilities"], reference)
            text = f"{name} agrees with serving_default"
            self._check(text, difference <= bound, difference, bound)
        for name, output in outputs.items():
            for size in self._options["batch_sizes"]:
                repeated = [requests[name][i % len(reference)] for i in range(size)]
                expected = [output["probabilities"][i % len(reference)] for i in range(size)]
                probabilities = self._predict(name, repeated)["probabilities"]
                difference = _max_difference(probabilities, expected)
                text = f"{name} answers a batch of {size} alike"
                self._check(text, difference <= _BATCH_TOLERANCE, difference, _BATCH_TOLERANCE)
            self._check_labels(name, output)

    def check_resizing(self, images: Sequence[Any]) -> None:
        """Checks that `serving_pixels` resizes images of other sizes as training does."""
        size = self._options["image_size"]
        bound = self._options["max_probability_difference"]
        side = next(side for side in _OTHER_SIDES if side != size)
        for height, width in ((side, side), (side, side * 2 // 3)):
            text = f"serving_pixels resizes [{height}, {width}, 3] as training does"
            sent = [_resize(self._tf, image, height, width) for image in images]
            resized = [_resize(self._tf, image, size, size) for image in sent]
            try:
                probabilities = self._predict("serving_pixels", sent)["probabilities"]
            except self._refusals as error:
                self._check(text, False, _describe(error), bound)
                continue
            expected = self._predict("serving_pixels", resized)["probabilities"]
            difference = _max_difference(probabilities, expected)
            self._check(text, difference <= bound, difference, bound)

    def check_reference(self, path: Path) -> None:
        """Checks that predictions equal those of the trained model."""
        if not path.is_file():
            missing = "no reference.npz beside the model"
            self._check("answers as the trained model did", False, missing, "its answers")
            return
        trained = self._np.load(path)
        probabilities = self._predict("serving_pixels", trained["pixels"])["probabilities"]
        difference = _max_difference(probabilities, trained["probabilities"])
        bound = self._options["max_probability_difference"]
        self._check("answers as the trained model did", difference <= bound, difference, bound)

    def check_invalid_requests(self, requests: dict[str, list[Any]]) -> None:
        """Checks that an invalid request gives a clear error and the next valid one a result."""
        size = self._options["image_size"]
        invalid = {
            "serving_default": [b"\x00 this is no record"],
            "serving_jpeg": [b"\xff\xd8\xff this is no photo"],
            "serving_pixels": self._tf.zeros([1, size, size, 5]),
        }
        for name, batch in invalid.items():
            text = f"{name} answers nonsense with an error"
            try:
                self._predict(name, batch)
                self._check(text, False, "an answer", "an error that says why")
            except self._refusals as error:
                has_reason = bool(_reason(error))
                self._check(text, has_reason, _describe(error), "an error that says why")
            self._predict(name, requests[name][:1])

    def check_latency(self, requests: dict[str, list[Any]]) -> None:
        """Measures requests of one image."""
        calls = self._options["latency_calls"]
        for name in _SIGNATURES:
            one = requests[name][:1]
            times = []
            for _ in range(calls):
                started = time.perf_counter()
                self._predict(name, one)
                times.append((time.perf_counter() - started) * 1000)
            times.sort()
            for percent in (50, 99):
                latency = round(times[math.ceil(calls * percent / 100) - 1], 1)
                bound = self._options[f"max_p{percent}_ms"]
                text = f"{name} p{percent} of {calls} requests (ms)"
                self._check(text, latency <= bound, latency, bound)

    def check_memory(self) -> None:
        """Checks the peak memory of this process."""
        peak = round(_peak_memory())
        bound = self._options["max_memory_mb"]
        self._check("peak memory (MiB)", peak <= bound, peak, bound)

    def _check_labels(self, name: str, output: dict[str, np.ndarray]) -> None:
        labels = self._options["labels"]
        predicted = [label.decode() for label in output["label"].tolist()]
        probabilities = output["probabilities"]
        best = probabilities.argmax(axis=1)
        expected = [labels[i] for i in best if i < len(labels)]
        right = (
            probabilities.shape[1] == len(labels)
            and predicted == expected
            and output["label_index"].tolist() == best.tolist()
        )
        self._check(f"{name} names the labels", right, sorted({*predicted}), labels)

    def _predict(self, name: str, batch: Any) -> dict[str, np.ndarray]:
        """Returns the outputs of a signature by name, arrays [batch, ...]."""
        signature = self._model.signatures[name]
        ((argument, spec),) = signature.structured_input_signature[1].items()
        if spec.dtype != self._tf.string:
            batch = self._np.asarray(batch)  # TensorFlow converts a list number by number.
        batch = self._tf.cast(batch, spec.dtype)
        return {key: value.numpy() for key, value in signature(**{argument: batch}).items()}


def _describe(error: Exception) -> str:
    """Returns the type and the reason of an error."""
    return f"{type(error).__name__}: {_reason(error)}"[:200]


def _reason(error: Exception) -> str:
    """Returns the last line of an error's message that does not locate it; "" if there is none."""
    lines = [line.strip() for line in str(error).splitlines()]
    locations = ("[[", "<", "Graph execution error", "Detected at")
    return next((line for line in reversed(lines) if line and not line.startswith(locations)), "")


def _peak_memory() -> float:
    """Returns the peak resident memory of this process in MiB.

    `getrusage` is not used: on Linux its value includes the peak of the parent process.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("cannot read the peak memory: /proc/self/status has no line VmHWM")


def _max_difference(probabilities: np.ndarray, expected: np.ndarray | list[np.ndarray]) -> float:
    return float(abs(probabilities - expected).max())


def _read_samples(tf: ModuleType, path: str) -> list[_Sample]:
    samples = []
    for record in (r.numpy() for r in tf.data.TFRecordDataset(path)):
        feature = tf.train.Example.FromString(record).features.feature
        content = feature["image"].bytes_list.value[0]
        if content.startswith(b"\xff\xd8\xff"):
            image = tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")
        else:
            shape = [
                feature[name].int64_list.value[0]
                for name in ("image_height", "image_width", "image_channels")
            ]
            image = tf.reshape(tf.io.decode_raw(tf.io.decode_base64(content), tf.uint8), shape)
            image = image if shape[2] >= 3 else tf.repeat(image[..., :1], 3, axis=-1)
            image = image[..., :3]
            content = tf.io.encode_png(image).numpy()
        samples.append(_Sample(record, content, image))
    return samples


def _requests(tf: ModuleType, samples: Sequence[_Sample], size: int) -> dict[str, list[Any]]:
    """Returns each signature's batch: records, encoded files, and pixels 0 to 255."""
    return {
        "serving_default": [sample.record for sample in samples],
        "serving_jpeg": [sample.file for sample in samples],
        "serving_pixels": [_resize(tf, sample.image, size, size) for sample in samples],
    }


def _resize(tf: ModuleType, image: Any, height: int, width: int) -> np.ndarray:
    """Resizes as training does: uint8 [height, width, 3]."""
    resized = tf.image.resize(image, [height, width], antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8).numpy()


if __name__ == "__main__":
    main(*sys.argv[1:])
