"""From the body of a request to rows that a signature takes."""

import binascii
import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
class Ask:
    """What a request asks for."""

    signature: Signature
    rows: list[Row]
    columns: bool = False
    """Whether the request has TensorFlow Serving's column format, whose reply has columns too."""

    @property
    def needs_conversion(self) -> bool:
        """Whether there are photos that `convert_photos` must make what the model takes."""
        return self.signature.name == PHOTOS and not all(map(is_native, self.rows))

    def convert_photos(self) -> None:
        """Decodes photos of other formats than the model takes; this may take seconds.

        Raises:
            RequestError: 400, for a photo that is none; it names the instance.
        """
        for number, photo in enumerate(self.rows):
            if not is_native(photo):
                with _naming_instance(number):
                    self.rows[number] = as_jpeg(photo)


def read(body: bytes, signatures: Mapping[str, Signature], max_instances: int) -> Ask:
    """Reads the body of a predict request.

    Where the body names no signature the first instance tells: an array means `serving_pixels`,
    a photo's bytes `serving_jpeg`, anything else `serving_default`.

    Args:
        body: JSON, {"instances": [...], "signature_name": optional}. An instance is {"b64": bytes},
            an array of numbers, or either under the name of the signature's input. In the column
            format `inputs` takes the place of `instances`: a list, or a list under the input's
            name.
        signatures: those of the model.
        max_instances: more of them in one request are refused.

    Raises:
        RequestError: 400, or 413 for too many instances; it names the instance at fault.
    """
    instances, name, columns = _envelope(body, max_instances, signatures)
    signature = _chosen(name, instances[0], signatures)
    rows = []
    for number, instance in enumerate(instances):
        with _naming_instance(number):
            rows.append(_row(instance, signature))
    return Ask(signature, rows, columns)


@contextlib.contextmanager
def _naming_instance(number: int) -> Iterator[None]:
    """Makes what is wrong with an instance a refusal that names it."""
    try:
        yield
    except ValueError as error:
        raise RequestError(400, f"instances[{number}]: {error}") from None


def _envelope(
    body: bytes, max_instances: int, signatures: Mapping[str, Signature]
) -> tuple[list, str | None, bool]:
    try:
        content = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is not JSON: {error}; send {_BODY}") from None
    if not isinstance(content, dict):
        raise RequestError(400, f"the body is {_kind(content)}; send {_BODY}")
    if unknown := content.keys() - set(_KEYS):
        raise RequestError(
            400, f"unknown key {min(unknown)!r} in the body; known: {', '.join(_KEYS)}"
        )
    columns = "inputs" in content
    if columns and "instances" in content:
        raise RequestError(400, "the body has instances and inputs; send one of them")
    instances = content.get("inputs" if columns else "instances")
    if columns and isinstance(instances, dict) and len(instances) == 1:
        ((column, instances),) = instances.items()
        known = {signature.input_name: key for key, signature in signatures.items()}
        if column not in known:
            raise RequestError(400, f"no input {column!r}; inputs: {', '.join(sorted(known))}")
        content.setdefault("signature_name", known[column])
    if not isinstance(instances, list) or not instances:
        what = "inputs" if columns else "instances"
        raise RequestError(400, f"{what} must be a list of one or more; send {_BODY}")
    if len(instances) > max_instances:
        raise RequestError(
            413, f"{len(instances)} instances in one request, at most {max_instances} are taken"
        )
    name = content.get("signature_name")
    if not isinstance(name, str | None):
        raise RequestError(400, f"signature_name must be a string, received {_kind(name)}")
    return instances, name, columns


def _refuse_constant(name: str):
    raise ValueError(f"{name} is not a number")


def _chosen(name: str | None, first: Any, signatures: Mapping[str, Signature]) -> Signature:
    if not name:
        name = _likely(first)
        name = name if name in signatures else DEFAULT
    if name not in signatures:
        raise RequestError(
            400, f"the model has no signature {name!r}; it has {', '.join(sorted(signatures))}"
        )
    return signatures[name]


def _likely(instance: Any) -> str:
    if isinstance(instance, dict) and len(instance) == 1:
        ((key, value),) = instance.items()
        if key == "b64" and isinstance(value, str):
            # Twelve characters are the nine bytes that a photo's kind is told by.
            photo = _decoded(value[:12]).startswith((*PHOTO_MAGIC, b"RIFF"))
            return PHOTOS if photo else DEFAULT
        return _likely(value)
    return PIXELS if isinstance(instance, list) else DEFAULT


def _row(instance: Any, signature: Signature) -> Row:
    if isinstance(instance, dict) and "b64" not in instance:
        if instance.keys() != {signature.input_name}:
            named = ", ".join(sorted(instance)) or "nothing"
            raise ValueError(
                f"{signature.name} has one input, {signature.input_name!r}; received {named}"
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
        raise ValueError(f"b64 must be a string, received {_kind(instance['b64'])}")
    content = _decoded(instance["b64"])
    if not content and instance["b64"]:
        raise ValueError("b64 is not base64")
    return content


def _decoded(text: str) -> bytes:
    """The bytes of base64 text, in the standard alphabet or the URL-safe one; none if it is not."""
    if "-" in text or "_" in text:
        text = text.replace("-", "+").replace("_", "/")
    if "\n" in text:  # as `base64` writes it
        text = "".join(text.split())
    bare = text.rstrip("=")
    try:
        content = binascii.a2b_base64(bare + "=" * (-len(bare) % 4))
    except (binascii.Error, ValueError):
        return b""
    # Characters that are not base64 are passed over: then there is less than there should be.
    return content if len(content) == len(bare) * 3 // 4 else b""


def _array(instance: Any, signature: Signature) -> np.ndarray:
    wanted = f"an array {_wanted_shape(signature)}"
    if not isinstance(instance, list):
        raise ValueError(f"{signature.name} takes {wanted}, received {_kind(instance)}")
    try:
        array = np.array(instance)
        # Asked for its own type NumPy would make numbers of text too.
        numbers = array.dtype.kind in "iuf"
    except ValueError:
        numbers = False
    if not numbers:
        raise ValueError(
            f"{signature.name} takes {wanted} of numbers; rows differ in length, or hold "
            "something else than numbers"
        )
    fits = array.ndim == len(signature.shape) and all(
        size in (None, given) for given, size in zip(array.shape, signature.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{signature.name} takes {wanted}, received {_brackets(array.shape)}")
    if signature.name == PIXELS and array.size:
        if array.ndim == len(_AXES):
            check_size(array.shape[1], array.shape[0])
        low, high = float(array.min()), float(array.max())
        if not (math.isfinite(low) and math.isfinite(high)) or low < 0 or high > 255:
            raise ValueError(f"pixels are 0 to 255, received {low:g} to {high:g}")
        if high <= 1 and array.dtype.kind == "f" and (array % 1).any():
            raise ValueError("pixels are 0 to 255, received 0 to 1: multiply them by 255")
    return array.astype(signature.dtype)


def _wanted_shape(signature: Signature) -> str:
    """A row's shape with the names of the sizes that are free: `[height, width, 3]`."""
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
