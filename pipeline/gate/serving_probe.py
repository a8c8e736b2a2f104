"""Loads a SavedModel as a server would and asks it; run as a script in a process of its own.

Only TensorFlow may be imported: the name of any other library of the pipeline raises, so that a
model which needs one is found out here and not in production.

    python -I serving_probe.py MODEL RECORDS SETTINGS RESULT

MODEL is a SavedModel folder; RECORDS a TFRecord file of raw examples; SETTINGS a JSON object with
`labels`, `image_size` and `max_probability_difference`; RESULT receives {"checks": [{"name",
"passed", "value", "bound"}]}.
"""

import json
import sys
import time
from pathlib import Path

_FORBIDDEN = {"tfx", "tfx_bsl", "tensorflow_transform", "data", "models", "pipeline"}
_PIXEL_SIGNATURES = ("serving_jpeg", "serving_pixels")
_BAD_PHOTO = b"\xff\xd8\xff this is no photo"


class _OnlyTensorFlow:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in _FORBIDDEN:
            raise ImportError(f"a served model must not import {name}")


def main(model_path: str, records_path: str, settings_path: str, result_path: str):
    """Runs every check and writes the result; a check that raises is a check that failed."""
    sys.meta_path.insert(0, _OnlyTensorFlow())
    import tensorflow as tf

    settings = json.loads(Path(settings_path).read_text())
    records = [r.numpy() for r in tf.data.TFRecordDataset(records_path)]
    checks: list[dict] = []

    def check(name, passed, value, bound):
        checks.append({"name": name, "passed": bool(passed), "value": value, "bound": bound})

    try:
        _run_checks(tf, model_path, records, settings, check)
    except Exception as error:  # whatever a model raises is the reason why it is refused
        check("answers requests", False, f"{type(error).__name__}: {error}"[:2000], "no error")
    Path(result_path).write_text(json.dumps({"checks": checks}, indent=1))


def _run_checks(tf, model_path, records, settings, check):
    started = time.monotonic()
    model = tf.saved_model.load(model_path)
    check("loads with TensorFlow alone", True, round(time.monotonic() - started, 2), "no error")

    wanted = {"serving_default", *_PIXEL_SIGNATURES}
    missing = sorted(wanted - set(model.signatures))
    check("signatures", not missing, sorted(set(model.signatures) & wanted), sorted(wanted))
    if missing:
        return

    photos, pixels = _as_clients_send_them(tf, records, settings["image_size"])
    inputs = {
        "serving_default": tf.constant(records),
        "serving_jpeg": tf.constant(photos),
        "serving_pixels": tf.constant(pixels),
    }
    answers = {name: _ask(model.signatures[name], batch) for name, batch in inputs.items()}
    reference = answers["serving_default"]["probabilities"]
    for name in _PIXEL_SIGNATURES:
        difference = float(abs(answers[name]["probabilities"] - reference).max())
        bound = settings["max_probability_difference"]
        check(f"{name} agrees with serving_default", difference <= bound, difference, bound)

    single = _ask(model.signatures["serving_default"], inputs["serving_default"][:1])
    difference = float(abs(single["probabilities"][0] - reference[0]).max())
    check("batch of 1 agrees with the batch", difference <= 1e-3, difference, 1e-3)

    known = settings["labels"]
    for name, answer in answers.items():
        named = [label.decode() for label in answer["label"].tolist()]
        expected = [known[i] for i in answer["probabilities"].argmax(axis=1)]
        right_width = answer["probabilities"].shape[1] == len(known)
        check(
            f"{name} names the labels", named == expected and right_width, sorted({*named}), known
        )

    try:
        _ask(model.signatures["serving_jpeg"], tf.constant([_BAD_PHOTO]))
        check("a broken photo is an error", False, "an answer", "InvalidArgumentError")
    except tf.errors.InvalidArgumentError as error:
        check("a broken photo is an error", True, type(error).__name__, "InvalidArgumentError")
    started = time.monotonic()
    _ask(model.signatures["serving_default"], inputs["serving_default"][:1])
    milliseconds = round((time.monotonic() - started) * 1000, 1)
    check("answers after a broken photo", True, f"{milliseconds} ms", "an answer")


def _ask(signature, batch) -> dict:
    (name,) = signature.structured_input_signature[1]
    spec = signature.structured_input_signature[1][name]
    return {k: v.numpy() for k, v in signature(**{name: _cast(batch, spec.dtype)}).items()}


def _cast(batch, dtype):
    import tensorflow as tf

    return batch if batch.dtype == dtype else tf.cast(batch, dtype)


def _as_clients_send_them(tf, records, size) -> tuple[list[bytes], list]:
    """The records' photos as encoded bytes and as [size, size, 3] arrays of 0 to 255."""
    photos, pixels = [], []
    for record in records:
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
        photos.append(content)
        resized = tf.image.resize(image, [size, size], antialias=True)
        pixels.append(tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8).numpy())
    return photos, pixels


if __name__ == "__main__":
    main(*sys.argv[1:])
