"""Parses the body of a predict request into rows of a signature."""

import binascii
import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from pipeline.serve.errors import RequestError
from pipeline.serve.loaded_model import Row, Signature
from pipeline.serve.photo_check import (
    PHOTO_MAGIC,
    as_jpeg,
    check_photo,
    check_record,
    check_size,
    is_native,
)

DEFAULT = "serving_default"
PHOTOS = "serving_jpeg"
PIXELS = "serving_pixels"
_BODY = '{"instances": [...]}'
_KEYS = ("inputs", "instances", "signature_name", "parameters")
_AXES = ("height", "width", "channels")


@dataclasses.dataclass(frozen=True)
class PredictRequest:
    """The body of a predict request."""

    signature: Signature
    rows: list[Row]
    columns: bool = False
    """Whether the request has TensorFlow Serving's column format; the reply has the same format."""

    @property
    def needs_conversion(self) -> bool:
        """Whether `convert_photos` must convert photos that the model cannot decode."""
        return any(True for _ in self._foreign_photos())

    def convert_photos(self) -> None:
        """Converts photos of formats that the model cannot decode to JPEG. May take seconds.

        Raises:
            RequestError: 400 for a file that is not a photo; the message names the instance.
        """
        for number, photo in self._foreign_photos():
            with _instance_errors(number):
                self.rows[number] = as_jpeg(photo)

    def _foreign_photos(self) -> Iterator[tuple[int, bytes]]:
        """Yields index and bytes of the photos that the model cannot decode."""
        if self.signature.name == PHOTOS:
            for number, row in enumerate(self.rows):
                if isinstance(row, bytes) and not is_native(row):
                    yield number, row


def read(body: bytes, signatures: Mapping[str, Signature], max_instances: int) -> PredictRequest:
    """Parses the body of a predict request.

    If the body names no signature, the first instance selects it: `serving_pixels` for an array,
    `serving_jpeg` for the bytes of a photo, else `serving_default`.

    Args:
        body: JSON, {"instances": [...], "signature_name": optional}. An instance is {"b64": bytes},
            an array of numbers, or either under the name of the signature's input. In the column
            format `inputs` replaces `instances`: a list, or a list under the name of the input.
        signatures: Signatures of the model by name.
        max_instances: Largest number of instances.

    Raises:
        RequestError: 400 for an invalid body, 413 for too many instances. The message names the
            invalid instance.
    """
    instances, name, columns = _envelope(body, max_instances, signatures)
    signature = _select_signature(name, instances[0], signatures)
    rows: list[Row] = []
    for number, instance in enumerate(instances):
        with _instance_errors(number):
            rows.append(_row(instance, signature))
    return PredictRequest(signature, rows, columns)


@contextlib.contextmanager
def _instance_errors(number: int) -> Iterator[None]:
    """Turns a ValueError into a RequestError that names the instance."""
    try:
        yield
    except ValueError as error:
        raise RequestError(400, f"instances[{number}]: {error}") from None


def _envelope(
    body: bytes, max_instances: int, signatures: Mapping[str, Signature]
) -> tuple[list[Any], str | None, bool]:
    """Returns the instances, the name of the signature, and whether they are in column format."""
    try:
        content = json.loads(body, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is not JSON: {error}; send {_BODY}") from None
    if not isinstance(content, dict):
        raise RequestError(400, f"the body is {_kind(content)}; send {_BODY}")
    if unknown := content.keys() - set(_KEYS):
        raise RequestError(
            400, f"unknown key {min(unknown)!r} in the body; allowed: {', '.join(_KEYS)}"
        )
    columns = "inputs" in content
    if columns and "instances" in content:
        raise RequestError(400, "the body has both instances and inputs; send one of them")
    instances = content.get("inputs" if columns else "instances")
    if columns and isinstance(instances, dict) and len(instances) == 1:
        ((column, instances),) = instances.items()
        known = {signature.input_name: key for key, signature in signatures.items()}
        if column not in known:
            raise RequestError(400, f"no input {column!r}; inputs: {', '.join(sorted(known))}")
        content.setdefault("signature_name", known[column])
    if not isinstance(instances, list) or not instances:
        key = "inputs" if columns else "instances"
        raise RequestError(400, f"{key} must be a non-empty list; send {_BODY}")
    if len(instances) > max_instances:
        raise RequestError(
            413, f"{len(instances)} instances in one request; at most {max_instances} are allowed"
        )
    name = content.get("signature_name")
    if not isinstance(name, str | None):
        raise RequestError(400, f"signature_name must be a string; received {_kind(name)}")
    return instances, name, columns


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _select_signature(
    name: str | None, first: Any, signatures: Mapping[str, Signature]
) -> Signature:
    if not name:
        name = _guess_signature(first)
        name = name if name in signatures else DEFAULT
    if name not in signatures:
        raise RequestError(
            400, f"the model has no signature {name!r}; signatures: {', '.join(sorted(signatures))}"
        )
    return signatures[name]


def _guess_signature(instance: Any) -> str:
    if isinstance(instance, dict) and len(instance) == 1:
        ((key, value),) = instance.items()
        if key == "b64" and isinstance(value, str):
            # The magic bytes of every format are in the first nine bytes, twelve characters.
            photo = _decoded(value[:12]).startswith((*PHOTO_MAGIC, b"RIFF"))
            return PHOTOS if photo else DEFAULT
        return _guess_signature(value)
    return PIXELS if isinstance(instance, list) else DEFAULT


def _row(instance: Any, signature: Signature) -> Row:
    if isinstance(instance, dict) and "b64" not in instance:
        if instance.keys() != {signature.input_name}:
            received = ", ".join(sorted(instance)) or "nothing"
            raise ValueError(
                f"{signature.name} has one input, {signature.input_name!r}; received {received}"
            )
        instance = instance[signature.input_name]
    if signature.dtype is not None:
        return _array(instance, signature)
    content = _bytes(instance, signature)
    if signature.name != PHOTOS:
        check_record(content)
    elif is_native(content):
        check_photo(content)
    return content


def _bytes(instance: Any, signature: Signature) -> bytes:
    if not isinstance(instance, dict) or instance.keys() != {"b64"}:
        raise ValueError(
            f'{signature.name} takes bytes, sent as {{"b64": "..."}}; received {_kind(instance)}'
        )
    if not isinstance(instance["b64"], str):
        raise ValueError(f"b64 must be a string; received {_kind(instance['b64'])}")
    content = _decoded(instance["b64"])
    if not content and instance["b64"]:
        raise ValueError("b64 is not valid base64")
    return content


def _decoded(text: str) -> bytes:
    """Decodes standard or URL-safe base64; returns b"" if the text is invalid."""
    if "-" in text or "_" in text:
        text = text.replace("-", "+").replace("_", "/")
    if "\n" in text:  # line breaks of the command `base64`
        text = "".join(text.split())
    bare = text.rstrip("=")
    try:
        content = binascii.a2b_base64(bare + "=" * (-len(bare) % 4))
    except (binascii.Error, ValueError):
        return b""
    # `a2b_base64` skips invalid characters: the result is then too short.
    return content if len(content) == len(bare) * 3 // 4 else b""


def _array(instance: Any, signature: Signature) -> np.ndarray:
    expected = f"an array {_expected_shape(signature)}"
    if not isinstance(instance, list):
        raise ValueError(f"{signature.name} takes {expected}; received {_kind(instance)}")
    try:
        array = np.array(instance)
        # Checked before the conversion to the dtype, which would parse strings as numbers.
        numeric = array.dtype.kind in "iuf"
    except ValueError:
        numeric = False
    if not numeric:
        raise ValueError(
            f"{signature.name} takes {expected} of numbers; rows differ in length or hold "
            "values that are not numbers"
        )
    fits = array.ndim == len(signature.shape) and all(
        size in (None, given) for given, size in zip(array.shape, signature.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{signature.name} takes {expected}; received {_brackets(array.shape)}")
    if signature.name == PIXELS and array.size:
        if array.ndim == len(_AXES):
            check_size(array.shape[1], array.shape[0])
        low, high = float(array.min()), float(array.max())
        if not (math.isfinite(low) and math.isfinite(high)) or low < 0 or high > 255:
            raise ValueError(f"pixels must be 0 to 255; received {low:g} to {high:g}")
        if high <= 1 and array.dtype.kind == "f" and (array % 1).any():
            raise ValueError(
                "pixels must be 0 to 255; received fractions of 0 to 1: multiply them by 255"
            )
    return array.astype(signature.dtype)


def _expected_shape(signature: Signature) -> str:
    """Formats the shape of a row, with names for free dimensions: `[height, width, 3]`."""
    is_image = signature.name == PIXELS and len(signature.shape) == len(_AXES)
    names = _AXES if is_image else ("any",) * len(signature.shape)
    given = zip(signature.shape, names, strict=True)
    return _brackets([name if size is None else size for size, name in given])


def _brackets(sizes: Sequence[int | str]) -> str:
    return f"[{', '.join(map(str, sizes))}]"


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean"}
    if value is None:
        return "null"
    return names.get(type(value), "a number")
