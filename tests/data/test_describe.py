import gzip
import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest

import data
from data import DataError
from data.inspection import check_records
from data.record import records, tfrecord
from tests.data.drawn import image_table, shared
from tests.data.test_convert import convert, quiet

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


def test_a_folder_without_manifest_has_the_same_description(folder):
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


@pytest.mark.parametrize("harm", [cut, remove, add])
def test_load_refuses_shards_that_the_manifest_does_not_know(folder, harm):
    message = harm(folder)
    with pytest.raises(DataError, match=f"does not match its manifest: {message}"):
        data.load(folder)


def test_load_reads_the_first_record_and_leaves_the_others_to_load_check(folder):
    shard = folder / "train-00000-of-00001.tfrecord"
    content = bytearray(shard.read_bytes())
    content[-100] ^= 1  # in the last record
    shard.write_bytes(content)
    for manifest in (True, False):
        assert sorted(data.load(folder)) == ["TRAIN", "VALIDATION"]
        with pytest.raises(DataError, match="has changed" if manifest else r"record 6 is broken"):
            check_records(folder)
        (folder / "manifest.json").unlink(missing_ok=True)


@pytest.mark.parametrize("harm", [cut, flip])
def test_without_a_manifest_the_checksums_of_the_records_tell(folder, harm):
    harm(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"train-00000-of-00001.tfrecord: record \d is broken"):
        data.describe(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a manifest"),
        ("[]", "is not a manifest"),
        ('{"format": "other"}', "is not a manifest"),
        ('{"format": "pawprint-records"}', "is not a manifest"),
        ('{"format": "pawprint-records", "format_version": 99}', "format version 99"),
    ],
)
def test_an_invalid_manifest_is_refused(folder, text, message):
    (folder / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=message):
        data.describe(folder)


def test_folders_without_records_are_refused(tmp_path):
    with pytest.raises(DataError, match="No such folder"):
        data.describe(tmp_path / "none")
    with pytest.raises(DataError, match="No records in"):
        data.describe(tmp_path)


def unlisted(folder, records_, name="train-00000-of-00001.tfrecord"):
    """A folder without a manifest, as TFRecorder writes them."""
    with (folder / name).open("wb") as stream:
        for record in records_:
            tfrecord.write(stream, record)


def no_example(folder):
    unlisted(folder, [b"\x07\x07 no example"])
    return "record 1 is not a tf.train.Example"


def corrupt_gzip(folder):
    content = bytearray(gzip.compress(bytes(9000)))
    content[10:14] = b"\xff" * 4  # the first block's header: zlib itself complains
    (folder / "train-00000-of-00001.tfrecord.gz").write_bytes(content)
    return "is truncated or not a TFRecord|is broken"


def a_file(folder):
    (folder / "notes.txt").write_text("x")
    return "notes.txt is a file"


def another_name(folder):
    record = records.serialize({"label": 1})
    unlisted(folder, [record])
    unlisted(folder, [record], name="photos-validation.tfrecord-00000-of-00001")
    return "photos-validation.tfrecord-00000-of-00001 is not the name of a shard"


@pytest.mark.parametrize("harm", [no_example, corrupt_gzip, a_file, another_name])
def test_a_path_that_is_not_a_folder_of_records_is_refused(tmp_path, harm):
    message = harm(tmp_path)
    asked = tmp_path / "notes.txt" if harm is a_file else tmp_path
    with pytest.raises(DataError, match=message):
        data.describe(asked)
    with pytest.raises(DataError, match=message):
        check_records(asked)
    with pytest.raises(DataError, match=message):
        data.inspect(asked, output_dir=tmp_path / "look")
    assert not (tmp_path / "look").exists()


def test_text_labels_are_counted_but_are_not_classes(tmp_path):
    unlisted(tmp_path, [records.serialize({"label": label}) for label in (b"cat", b"dog")])
    found = data.describe(tmp_path)
    assert found.labels == () and found.counts == {"train": {"": 2}}
    assert check_records(tmp_path)


def test_labels_of_two_types_are_refused(tmp_path):
    unlisted(tmp_path, [records.serialize({"label": label}) for label in (1, b"cat")])
    for look in (data.describe, check_records):
        with pytest.raises(DataError, match="train record 2 has the label b'cat'"):
            look(tmp_path)


def test_inspect_of_a_broken_record_leaves_nothing_behind(tmp_path):
    size = {"image_height": 1, "image_width": 1, "image_channels": 3}
    unlisted(tmp_path, [records.serialize({"image": b"AAAA", **size, "image_height": 2})])
    with pytest.raises(DataError, match="cannot be decoded"):
        data.inspect(tmp_path, output_dir=tmp_path / "look")
    assert not [*(tmp_path / "look").iterdir()]


def test_whole_number_labels_are_listed_as_classes_or_as_they_occur(tmp_path):
    kinds = {"split": data.SplitKey, "label": data.IntegerLabel}
    for name, numbers, labels in (
        ("few", [1, 3], ("0", "1", "2", "3")),
        ("large", [7, 1_000_000], ("7", "1000000")),
    ):
        table = pd.DataFrame({"split": "TRAIN", "label": numbers})
        convert(table, tmp_path / name, schema=kinds)
        assert data.describe(tmp_path / name).labels == labels
        (tmp_path / name / "manifest.json").unlink()
        assert data.describe(tmp_path / name).labels == labels


def test_loading_pixels_needs_photos(tmp_path):
    kinds = {"split": data.SplitKey, "label": data.StringLabel}
    convert(pd.DataFrame({"split": ["TRAIN"], "label": ["x"]}), tmp_path / "out", schema=kinds)
    code = (
        "import sys, types\nsys.modules['tensorflow'] = types.ModuleType('tensorflow')\n"
        "import data\ntry:\n    data.load(sys.argv[1], decode=True)\n"
        "except data.DataError as error:\n    assert 'no images to decode' in str(error)\n"
        "else:\n    sys.exit('loaded')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], check=True)


def test_loading_without_tensorflow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(DataError, match="pip install tensorflow"):
        data.load(tmp_path)


TWO = {
    "split": data.SplitKey,
    "image_uri": data.ImageUri,
    "breed": data.StringLabel,
    "label": data.StringLabel,
}


@pytest.fixture
def two_labels(tmp_path):
    """A folder with two text label columns, `breed` of three labels before `label` of two."""
    table = image_table(tmp_path / "photos", {"TRAIN": 12, "VALIDATION": 4})
    table["breed"] = [("abyssinian", "beagle", "collie")[row % 3] for row in range(len(table))]
    data.convert(table, tfrecord_dir=tmp_path / "out", schema=TWO, progress=quiet)
    return tmp_path / "out"


@pytest.mark.parametrize("listed", [True, False], ids=["manifest", "no-manifest"])
def test_labels_are_those_of_the_column_that_is_trained_on(listed, two_labels):
    if not listed:
        (two_labels / "manifest.json").unlink()
    found = data.describe(two_labels)
    assert set(found.labels) == {"cat", "dog"}
    assert set(found.counts["train"]) == {"cat", "dog"}


def test_a_whole_number_label_beside_a_text_label_has_no_names(tmp_path):
    schema = TWO | {"label": data.IntegerLabel}
    table = image_table(tmp_path / "photos", {"TRAIN": 12, "VALIDATION": 4})
    table["breed"] = [("beagle", "collie")[row % 2] for row in range(len(table))]
    table["label"] = [row % 3 for row in range(len(table))]
    data.convert(table, tfrecord_dir=tmp_path / "out", schema=schema, progress=quiet)
    assert data.describe(tmp_path / "out").labels == ("0", "1", "2")
    (tmp_path / "out" / "manifest.json").unlink()
    assert data.describe(tmp_path / "out").labels == ("0", "1", "2")


def test_ambiguous_vocabularies_are_refused(two_labels):
    (two_labels / "manifest.json").unlink()
    assets = two_labels / "transform_fn" / "assets"
    first = min(assets.iterdir(), key=lambda path: len(path.name))
    first.write_text("beagle\ncollie\n")
    with pytest.raises(DataError, match="2 vocabularies match the column 'label'"):
        data.describe(two_labels)


def test_a_manifest_with_its_labels_in_another_order_is_refused(two_labels):
    path = two_labels / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["labels"].reverse()
    path.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="its labels are not the vocabulary of the column 'label'"):
        data.describe(two_labels)
