"""Loads a SavedModel as a server would and asks it; run as a script in a process of its own.

Only TensorFlow may be imported: the name of any other library of the pipeline raises, so that a
model which needs one is found out here and not in production.

    python -I serving_probe.py MODEL RECORDS REFERENCE SETTINGS RESULT

MODEL is a SavedModel folder; RECORDS a TFRecord file of raw examples; REFERENCE the trained model's
answers (`pixels` and `probabilities` in an .npz file), or a path where there is none; SETTINGS a
JSON object with `labels`, `image_size` and the fields of `ServingConfig`; RESULT receives
{"checks": [{"name", "passed", "value", "bound"}]}.
"""

import json
import math
import sys
import time
from pathlib import Path

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
"""Height of the arrays that are sent beside those of the model's size: the first that differs."""


class _OnlyTensorFlow:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in _FORBIDDEN:
            raise ImportError(f"a served model must not import {name}")


def main(model: str, records: str, reference: str, settings: str, result: str):
    """Runs every check and writes the result; a check that raises is a check that failed."""
    sys.meta_path.insert(0, _OnlyTensorFlow())
    import tensorflow as tf

    checks: list[dict] = []

    def check(name, passed, value, bound):
        checks.append({"name": name, "passed": bool(passed), "value": value, "bound": bound})

    options = json.loads(Path(settings).read_text())
    try:
        probe = _Probe(tf, model, options, check)
        if probe.has_signatures():
            photos = _photos(tf, records)
            requests = _requests(tf, photos, options["image_size"])
            probe.ask_all(requests)
            probe.resize_pixels([image for _, _, image in photos])
            probe.compare_with_training(Path(reference))
            probe.send_nonsense(requests)
            probe.time_requests(requests)
            probe.weigh()
    except Exception as error:  # whatever a model raises is the reason why it is refused
        check("answers requests", False, f"{type(error).__name__}: {error}"[:2000], "no error")
    Path(result).write_text(json.dumps({"checks": checks}, indent=1))


class _Probe:
    def __init__(self, tf, path, options, check):
        started = time.monotonic()
        import numpy as np

        self._np, self._tf, self._options, self._check = np, tf, options, check
        self._refusals = (tf.errors.InvalidArgumentError, TypeError, ValueError)
        self._model = tf.saved_model.load(path)
        seconds = round(time.monotonic() - started, 2)
        check("loads with TensorFlow alone (s)", True, seconds, options["timeout_s"])

    def has_signatures(self) -> bool:
        present = [name for name in _SIGNATURES if name in self._model.signatures]
        self._check("signatures", present == [*_SIGNATURES], present, [*_SIGNATURES])
        return present == [*_SIGNATURES]

    def ask_all(self, requests):
        """Signatures agree with each other and in every batch size, and name the labels."""
        answers = {name: self._ask(name, batch) for name, batch in requests.items()}
        reference = answers["serving_default"]["probabilities"]
        bound = self._options["max_probability_difference"]
        for name in _SIGNATURES[1:]:
            difference = _distance(answers[name]["probabilities"], reference)
            text = f"{name} agrees with serving_default"
            self._check(text, difference <= bound, difference, bound)
        for name, answer in answers.items():
            for size in self._options["batch_sizes"]:
                repeated = [requests[name][i % len(reference)] for i in range(size)]
                expected = [answer["probabilities"][i % len(reference)] for i in range(size)]
                difference = _distance(self._ask(name, repeated)["probabilities"], expected)
                text = f"{name} answers a batch of {size} alike"
                self._check(text, difference <= _BATCH_TOLERANCE, difference, _BATCH_TOLERANCE)
            self._check_labels(name, answer)

    def resize_pixels(self, images):
        """Arrays of another size get the answers of the same arrays resized beforehand."""
        size = self._options["image_size"]
        bound = self._options["max_probability_difference"]
        side = next(side for side in _OTHER_SIDES if side != size)
        for height, width in ((side, side), (side, side * 2 // 3)):
            text = f"serving_pixels resizes [{height}, {width}, 3] as training does"
            sent = [_resized(self._tf, image, height, width) for image in images]
            beforehand = [_resized(self._tf, image, size, size) for image in sent]
            try:
                answer = self._ask("serving_pixels", sent)["probabilities"]
            except self._refusals as error:
                self._check(text, False, _told(error), bound)
                continue
            expected = self._ask("serving_pixels", beforehand)["probabilities"]
            difference = _distance(answer, expected)
            self._check(text, difference <= bound, difference, bound)

    def compare_with_training(self, path: Path):
        if not path.is_file():
            missing = "no reference.npz beside the model"
            self._check("answers as the trained model did", False, missing, "its answers")
            return
        trained = self._np.load(path)
        answer = self._ask("serving_pixels", trained["pixels"])["probabilities"]
        difference = _distance(answer, trained["probabilities"])
        bound = self._options["max_probability_difference"]
        self._check("answers as the trained model did", difference <= bound, difference, bound)

    def send_nonsense(self, requests):
        """A request that makes no sense is a clear error, and the next good one is answered."""
        size = self._options["image_size"]
        nonsense = {
            "serving_default": [b"\x00 this is no record"],
            "serving_jpeg": [b"\xff\xd8\xff this is no photo"],
            "serving_pixels": self._tf.zeros([1, size, size, 5]),
        }
        for name, bad in nonsense.items():
            text = f"{name} answers nonsense with an error"
            try:
                self._ask(name, bad)
                self._check(text, False, "an answer", "an error that says why")
            except self._refusals as error:
                self._check(text, _reason(error), _told(error), "an error that says why")
            self._ask(name, requests[name][:1])

    def time_requests(self, requests):
        calls = self._options["latency_calls"]
        for name in _SIGNATURES:
            one = requests[name][:1]
            times = []
            for _ in range(calls):
                started = time.perf_counter()
                self._ask(name, one)
                times.append((time.perf_counter() - started) * 1000)
            times.sort()
            for percent in (50, 99):
                took = round(times[math.ceil(calls * percent / 100) - 1], 1)
                bound = self._options[f"max_p{percent}_ms"]
                text = f"{name} p{percent} of {calls} requests (ms)"
                self._check(text, took <= bound, took, bound)

    def weigh(self):
        peak = round(_peak_memory())
        bound = self._options["max_memory_mb"]
        self._check("peak memory (MiB)", peak <= bound, peak, bound)

    def _check_labels(self, name, answer):
        known = self._options["labels"]
        named = [label.decode() for label in answer["label"].tolist()]
        probabilities = answer["probabilities"]
        best = probabilities.argmax(axis=1)
        expected = [known[i] for i in best if i < len(known)]
        right = (
            probabilities.shape[1] == len(known)
            and named == expected
            and answer["label_index"].tolist() == best.tolist()
        )
        self._check(f"{name} names the labels", right, sorted({*named}), known)

    def _ask(self, name, batch) -> dict:
        """The answer to one request: output name to array, [batch, ...]."""
        signature = self._model.signatures[name]
        ((argument, spec),) = signature.structured_input_signature[1].items()
        if spec.dtype != self._tf.string:
            batch = self._np.asarray(batch)  # TensorFlow converts a list number by number
        batch = self._tf.cast(batch, spec.dtype)
        return {key: value.numpy() for key, value in signature(**{argument: batch}).items()}


def _told(error) -> str:
    """An error's type and reason, as a check's value."""
    return f"{type(error).__name__}: {_reason(error)}"[:200]


def _reason(error) -> str:
    """What a library's error says, without where in the graph it happened; "" if nothing."""
    lines = [line.strip() for line in str(error).splitlines()]
    places = ("[[", "<", "Graph execution error", "Detected at")
    return next((line for line in reversed(lines) if line and not line.startswith(places)), "")


def _peak_memory() -> float:
    """Resident MiB of this process at its peak.

    Not `getrusage`: on Linux its figure begins with the peak of the process that started this one.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("the kernel does not tell the peak of this process's memory")


def _distance(probabilities, others) -> float:
    return float(abs(probabilities - others).max())


def _photos(tf, path) -> list[tuple]:
    """Each record with its photo as an encoded file and as an image, uint8 [height, width, 3]."""
    photos = []
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
        photos.append((record, content, image))
    return photos


def _requests(tf, photos, size) -> dict:
    """The photos as clients send them: serialised, as encoded files, and as pixels 0 to 255."""
    records, files, images = zip(*photos, strict=True)
    pixels = [_resized(tf, image, size, size) for image in images]
    return dict(zip(_SIGNATURES, (list(records), list(files), pixels), strict=True))


def _resized(tf, image, height, width):
    """As training resizes: uint8 [height, width, 3]."""
    resized = tf.image.resize(image, [height, width], antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8).numpy()


if __name__ == "__main__":
    main(*sys.argv[1:])
