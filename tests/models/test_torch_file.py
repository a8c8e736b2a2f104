"""Weights of PyTorch are read as numbers; whatever else a file asks for is refused."""

from __future__ import annotations

import collections
import io
import os
import pickle
import sys
import zipfile
from types import ModuleType

import numpy as np
import pytest

from models.backbones import package, torch_file

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Storage:
    def __init__(self, numbers: np.ndarray, claimed: int | None = None, kind="FloatStorage"):
        self.content = len(numbers).to_bytes(8, "little") + numbers.tobytes()
        self.count = len(numbers) if claimed is None else claimed
        self.kind = kind


class Tensor:
    def __init__(self, storage, offset, shape, stride):
        self.fields = storage, offset, shape, stride

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (*self.fields, False, collections.OrderedDict())


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        kind = getattr(sys.modules["torch"], obj.kind)
        return "storage", kind, str(id(obj)), "cpu", obj.count, None


@pytest.fixture
def save(monkeypatch):
    """Writes what `torch.save` wrote of a dict of tensors."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    for kind in ("FloatStorage", "HalfStorage", "BFloat16Storage"):
        setattr(torch, kind, type(kind, (), {"__module__": "torch", "__qualname__": kind}))

    def _rebuild_tensor_v2():
        raise AssertionError("it is never called")

    for attribute, value in (
        ("__module__", "torch._utils"),
        ("__qualname__", "_rebuild_tensor_v2"),
    ):
        setattr(_rebuild_tensor_v2, attribute, value)
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)

    def save(tensors, storages=(), little_endian=True) -> bytes:
        file = io.BytesIO()
        system = {"protocol_version": PROTOCOL, "little_endian": little_endian}
        for each in (MAGIC, PROTOCOL, system, tensors, [str(id(s)) for s in storages]):
            Pickler(file, 2).dump(each)
        for storage in storages:
            file.write(storage.content)
        return file.getvalue()

    return save


def read(content: bytes) -> dict[str, np.ndarray]:
    return torch_file.read(io.BytesIO(content))


@pytest.fixture
def sound(save) -> bytes:
    """Two tensors in one storage, and one of half precision in its own."""
    numbers, half = Storage(np.arange(8, dtype="<f4")), np.array([1.5, -2], "<f2")
    halves = Storage(half, kind="HalfStorage")
    tensors = {
        "rows": Tensor(numbers, 0, (2, 3), (3, 1)),
        "columns": Tensor(numbers, 2, (3, 2), (1, 3)),
        "half": Tensor(halves, 1, (), ()),
        "none": Tensor(numbers, 8, (0, 5), (5, 1)),
    }
    return save(tensors, [numbers, halves])


def test_tensors_come_out_in_their_shapes_and_order(sound):
    found = read(sound)
    assert list(found) == ["rows", "columns", "half", "none"]
    np.testing.assert_array_equal(found["rows"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["columns"], [[2, 5], [3, 6], [4, 7]])
    assert found["half"] == np.float16(-2) and found["half"].dtype == "<f2"
    assert found["none"].shape == (0, 5)


def test_the_packaged_weights_are_read():
    with open(package.EFFICIENTNET_LITE0.find().path, "rb") as file:
        found = torch_file.read(file)
        assert not file.read(), "all of the file is read"
    assert len(found) == 296
    assert found["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert found["_fc.weight"].shape == (1000, 1280)
    assert found["_blocks.15._bn2.running_var"].shape == (320,)
    assert sum(value.size for value in found.values()) == 4_694_073
    assert float(np.sum(found["_conv_head.weight"], dtype=np.float64)) == pytest.approx(-21.113805)


class Hostile:
    """Runs a command where it is unpickled by `pickle.load`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, eval, getattr, pickle.loads])
@pytest.mark.parametrize("place", ["first", "among the tensors", "as the keys"])
def test_a_file_that_names_a_function_is_refused_and_not_run(save, tmp_path, function, place):
    trace = tmp_path / "trace"
    argument = f"touch {trace}" if function is os.system else f"open({str(trace)!r}, 'w')"
    hostile = Hostile(function, argument)
    if place == "first":
        content = pickle.dumps(hostile)
    elif place == "as the keys":
        content = b"".join(pickle.dumps(each) for each in (MAGIC, PROTOCOL, {"little_endian": 1}))
        content += pickle.dumps({}) + pickle.dumps([hostile])
    else:
        content = save({"weight": hostile})
    with pytest.raises(
        ValueError, match=rf"it names \w+\.{function.__name__}, which is not a tensor"
    ):
        read(content)
    assert not trace.exists()


def test_torch_functions_other_than_those_of_tensors_are_refused(save):
    content = save({}).replace(b"little_endian", b"little_endian")
    hostile = b"\x80\x02ctorch\nload\n(U\x01xtR."
    with pytest.raises(ValueError, match=r"it names torch\.load"):
        read(hostile + content)
    bfloat = Storage(np.zeros(2, "<f2"), kind="BFloat16Storage")
    with pytest.raises(ValueError, match=r"it names torch\.BFloat16Storage"):
        read(save({"weight": Tensor(bfloat, 0, (2,), (1,))}, [bfloat]))


def test_a_file_that_ends_anywhere_is_refused(sound):
    for length in range(len(sound)):
        with pytest.raises(ValueError):
            read(sound[:length])


def test_a_damaged_file_is_refused_or_read(sound):
    for position in range(0, len(sound)):
        for bit in (1, 0x80):
            content = bytearray(sound)
            content[position] ^= bit
            try:
                read(bytes(content))
            except ValueError:
                continue


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps({}))
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        zipped(),
        np.random.default_rng(0).bytes(4096),
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        pickle.dumps({"weight": 1}),
        pickle.dumps(MAGIC) + pickle.dumps(PROTOCOL + 1),
        pickle.dumps(MAGIC) + pickle.dumps(PROTOCOL) + pickle.dumps(7),
        b"PK\x03\x04\n.",  # To a pickle, the name of a storage, as a zip file's time may make it.
        b"\x80\x02}K\x01a.",  # Appends to a dict.
        b"\x80\x04\x8d" + b"\xff" * 8,  # A string of 16 exabytes.
    ],
    ids=[
        "empty",
        "zip",
        "random",
        "HDF5",
        "pickle",
        "protocol",
        "system",
        "storage",
        "append",
        "length",
    ],
)
def test_other_formats_are_refused(content):
    with pytest.raises(ValueError, match="PyTorch file"):
        read(content)


def test_what_is_not_a_dict_of_tensors_is_refused(save):
    for tensors in ([1, 2], {"weight": 3}, {1: 2}):
        with pytest.raises(ValueError, match="named tensors only"):
            read(save(tensors))
    with pytest.raises(ValueError, match="big-endian"):
        read(save({}, little_endian=False))


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (9,), (1,)),
        (5, (4,), (1,)),
        (9, (1,), (1,)),
        (0, (2, 2), (7, 2)),
        (0, (2,), (2**62,)),
        (-1, (2,), (1,)),
        (0, (2, 2), (-1, 1)),
        (0, (2, 2), (1,)),
        (0, (1 << 20, 1 << 20), (0, 0)),  # A zero stride makes terabytes of one number.
        (0, (3, 3), (0, 1)),
    ],
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(save, offset, shape, stride):
    numbers = Storage(np.zeros(8, "<f4"))
    content = save({"weight": Tensor(numbers, offset, shape, stride)}, [numbers])
    with pytest.raises(ValueError):
        read(content)


def test_a_storage_of_another_length_than_named_is_refused(save):
    for claimed in (7, 9, 1 << 40):
        numbers = Storage(np.zeros(8, "<f4"), claimed)
        with pytest.raises(ValueError, match="is truncated"):
            read(save({"weight": Tensor(numbers, 0, (2,), (1,))}, [numbers]))
