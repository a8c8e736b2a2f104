import json
import shutil
import sys

import pytest

import data
from data import DataError
from tests.data.drawn import image_table, shared
from tests.data.test_convert import convert

SPLITS = {"TRAIN": 6, "VALIDATION": 2}


@pytest.fixture
def folder(tmp_path):
    convert(image_table(tmp_path / "photos", SPLITS), tmp_path / "out", encoding="jpeg")
    return tmp_path / "out"


def test_our_folders(folder):
    found = data.describe(folder)
    assert found.labels == ("dog", "cat")
    assert found.counts == {"train": {"dog": 3, "cat": 3}, "validation": {"dog": 1, "cat": 1}}
    assert found.patterns == {"train": "train-*.tfrecord", "validation": "validation-*.tfrecord"}
    assert found.encoding == "jpeg" and found.discarded == 0
    assert {"image", "image_encoding", "label", "split"} < set(found.features)


def test_a_folder_without_manifest_says_the_same_of_its_records(folder):
    with_manifest = data.describe(folder)
    (folder / "manifest.json").unlink()
    without = data.describe(folder)
    for name in ("labels", "counts", "patterns", "features", "encoding"):
        assert getattr(without, name) == getattr(with_manifest, name)


def test_the_real_tfrecorders_folders():
    expected = json.loads(shared("tfrecorder-2.0", "expected.json").read_text())
    for route in ("csv_route", "dir_route"):
        found = data.describe(shared("tfrecorder-2.0") / expected[route]["dir"])
        assert list(found.labels) == expected[route]["vocab"]
        for split in ("train", "validation", "test"):
            rows = [
                row
                for file, rows in expected[route]["files"].items()
                if file.startswith(split)
                for row in rows
            ]
            assert sum(found.counts[split].values()) == len(rows)
        assert found.encoding == "raw"
        assert found.patterns["train"] == "train-*.tfrecord.gz"


def cut(folder):
    shard = folder / "train-00000-of-00001.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-5])
    return "train-00000-of-00001.tfrecord has"


def flip(folder):
    shard = folder / "train-00000-of-00001.tfrecord"
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    return "the content of train-00000-of-00001.tfrecord has changed"


def remove(folder):
    (folder / "validation-00000-of-00001.tfrecord").unlink()
    return "validation-00000-of-00001.tfrecord is missing"


def add(folder):
    shutil.copy(folder / "train-00000-of-00001.tfrecord", folder / "train-00001-of-00001.tfrecord")
    return "train-00001-of-00001.tfrecord is not in manifest.json"


@pytest.mark.parametrize("harm", [cut, flip, remove, add])
def test_shards_that_differ_from_the_manifest_are_named(folder, harm):
    message = harm(folder)
    with pytest.raises(DataError, match=f"does not match its manifest: {message}"):
        data.describe(folder)


@pytest.mark.parametrize("harm", [cut, flip])
def test_without_a_manifest_the_checksums_of_the_records_tell(folder, harm):
    harm(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"train-00000-of-00001.tfrecord: record \d is broken"):
        data.describe(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no manifest"),
        ("[]", "is no manifest"),
        ('{"format": "other"}', "is no manifest"),
        ('{"format": "pawprint-records", "format_version": 99}', "format version 99"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(folder, text, message):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=message):
        data.describe(folder)


def test_folders_without_records_are_refused(tmp_path):
    with pytest.raises(DataError, match="No such folder"):
        data.describe(tmp_path / "none")
    with pytest.raises(DataError, match="No records in"):
        data.describe(tmp_path)


def test_loading_without_tensorflow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(DataError, match="pip install tensorflow"):
        data.load(tmp_path)
