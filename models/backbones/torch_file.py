"""Reads the tensors of a PyTorch weights file with NumPy alone.

The file is in the format that `torch.save` wrote before PyTorch 1.6: five pickles (magic number,
protocol, system, the tensors' shapes, the keys of their storages), then each storage as an int64
count and raw little-endian numbers. A pickle can run any code, so this reader resolves no name but
those of tensors.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import pickle
from typing import BinaryIO

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ByteStorage": np.dtype("u1"),
}


# What the pickle module raises on a damaged file, and this reader on one that makes no sense.
_DAMAGES = (
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
    dtype: np.dtype
    count: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    """Numbers, not bytes, from one element to the next along each axis."""


def read(file: BinaryIO) -> dict[str, np.ndarray]:
    """Reads a state dict.

    Args:
        file: opened for reading bytes, at its beginning.

    Returns:
        Arrays by name, in the file's order.

    Raises:
        ValueError: not such a file, a truncated one, or one that names anything but tensors.
    """
    try:
        return _read(file)
    except _DAMAGES as error:
        raise ValueError(f"not a PyTorch file of tensors: {error}") from error


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
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
    return {name: _cut(storages, tensor) for name, tensor in tensors.items()}


def _load(file: BinaryIO):
    return _Unpickler(file, encoding="utf-8").load()


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is not a tensor")

    def persistent_load(self, pid) -> _Storage:
        if not isinstance(pid, tuple) or len(pid) != 6:
            raise pickle.UnpicklingError(f"a storage of an unknown kind: {pid!r}")
        kind, dtype, key, _, count, view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or view is not None:
            raise pickle.UnpicklingError(f"a storage of an unknown kind: {pid!r}")
        return _Storage(str(key), dtype, int(count))


def _rebuild(storage: _Storage, offset, shape, stride, *_) -> _Tensor:
    if not isinstance(storage, _Storage) or min((offset, *shape, *stride)) < 0:
        raise pickle.UnpicklingError("a tensor that does not lie in a storage")
    return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, stride)))


def _read_storage(file: BinaryIO, storage: _Storage) -> np.ndarray:
    count = int.from_bytes(file.read(8), "little")
    content = file.read(storage.count * storage.dtype.itemsize)
    if count != storage.count or len(content) < storage.count * storage.dtype.itemsize:
        raise EOFError(f"storage {storage.key} is truncated")
    return np.frombuffer(content, storage.dtype)


def _cut(storages: dict[str, np.ndarray], tensor: _Tensor) -> np.ndarray:
    values = storages[tensor.storage.key][tensor.offset :]
    pairs = list(zip(tensor.shape, tensor.stride, strict=True))
    last = sum((length - 1) * step for length, step in pairs)
    if 0 not in tensor.shape and max(last + 1, math.prod(tensor.shape)) > len(values):
        raise IndexError(f"a tensor beyond the end of storage {tensor.storage.key}")
    strides = [step * values.itemsize for step in tensor.stride]
    view = np.lib.stride_tricks.as_strided(values, tensor.shape, strides, writeable=False)
    return np.ascontiguousarray(view).reshape(tensor.shape)
