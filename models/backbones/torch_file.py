"""Reads the tensors of a PyTorch weights file with NumPy alone.

The format is that of `torch.save` before PyTorch 1.6: five pickles (magic number, protocol, system,
the tensors' shapes, the keys of their storages), then each storage as an int64 count and raw
little-endian numbers. A pickle can run arbitrary code, so this reader resolves the names of tensors
only.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import pickle
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ByteStorage": np.dtype("u1"),
}

# Raised by the pickle module and by this reader for damaged files.
_READ_ERRORS = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
)


@dataclasses.dataclass(frozen=True)
class _Storage:
    key: str
    dtype: np.dtype[Any]
    count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    """Step along each axis in numbers, not bytes."""


def read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    """Reads a state dict.

    Args:
        file: the file, opened in binary mode, at its start.

    Returns:
        Arrays by name, in the file's order.

    Raises:
        ValueError: The file is damaged, has another format, or contains other objects than tensors.
    """
    try:
        return _read(file)
    except _READ_ERRORS as error:
        raise ValueError(f"not a PyTorch file of tensors: {error}") from error


def _read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    if _load(file) != _MAGIC or _load(file) != _PROTOCOL:
        raise ValueError("not a PyTorch file in the format from before PyTorch 1.6")
    if not _load(file)["little_endian"]:
        raise ValueError("a PyTorch file of a big-endian machine")
    tensors = _load(file)
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(value, _Tensor) for name, value in tensors.items()
    ):
        raise ValueError("not a PyTorch file of named tensors only")
    known = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    storages = {key: _read_storage(file, known[key]) for key in _load(file)}
    return {name: _view(storages, tensor) for name, tensor in tensors.items()}


def _load(file: BinaryIO) -> Any:
    return _Unpickler(file, encoding="utf-8").load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not a tensor")

    def persistent_load(self, pid: Any) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) != 6:
            raise pickle.UnpicklingError(f"a storage of an unknown kind: {pid!r}")
        kind, dtype, key, _, count, view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or view is not None:
            raise pickle.UnpicklingError(f"a storage of an unknown kind: {pid!r}")
        return _Storage(str(key), dtype, int(count))


def _rebuild(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> _Tensor:
    """Replaces `torch._utils._rebuild_tensor_v2`; the arguments come from the file unchecked."""
    if not isinstance(storage, _Storage) or min((offset, *shape, *stride)) < 0:
        raise pickle.UnpicklingError("a tensor outside its storage")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


def _read_storage(file: BinaryIO, storage: _Storage) -> NDArray[Any]:
    count = int.from_bytes(file.read(8), "little")
    content = file.read(storage.count * storage.dtype.itemsize)
    if count != storage.count or len(content) < storage.count * storage.dtype.itemsize:
        raise EOFError(f"storage {storage.key} is truncated")
    return np.frombuffer(content, storage.dtype)


def _view(storages: dict[str, NDArray[Any]], tensor: _Tensor) -> NDArray[Any]:
    values = storages[tensor.storage.key][tensor.offset :]
    pairs = list(zip(tensor.shape, tensor.stride, strict=True))
    last = sum((length - 1) * step for length, step in pairs)
    if 0 not in tensor.shape and max(last + 1, math.prod(tensor.shape)) > len(values):
        raise IndexError(f"a tensor beyond the end of storage {tensor.storage.key}")
    strides = [step * values.itemsize for step in tensor.stride]
    view = np.lib.stride_tricks.as_strided(values, tensor.shape, strides, writeable=False)
    return np.ascontiguousarray(view).reshape(tensor.shape)
