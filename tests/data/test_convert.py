import hashlib
import logging
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import data
from data import DataError
from data.photos import pixels
from tests.data.drawn import encoded, image_table, manifest_of, photo_folder, picture, read_all

SPLITS = {"TRAIN": 6, "VALIDATION": 2, "TEST": 2}


def quiet(done, total):
    """A progress callback that shows nothing."""


def convert(source, folder, **options):
    return data.convert(source, tfrecord_dir=folder, progress=quiet, **options)


def tree(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_tfrecorder_call_and_its_result(tmp_path):
    table = image_table(tmp_path / "photos", SPLITS)
    table.to_csv(tmp_path / "data.csv", index=False)
    made = data.convert(str(tmp_path / "data.csv"), output_dir=str(tmp_path / "out"))
    assert made["job_id"] == "DirectRunner"
    assert made["metrics"] == {"rows": 10, "good_images": 10, "bad_images": 0}
    folder = tmp_path / "out" / made["tfrecord_dir"].rsplit("/", 1)[1]
    assert folder.name.startswith("tfrecorder-2") and folder.name.endswith("-convert")
    assert {"train-00000-of-00001.tfrecord.gz", "manifest.json", "discarded.csv"} <= tree(
        folder
    ).keys()
    for part in ("TRAIN", "(dog 3, cat 3)", "discarded", str(folder)):
        assert part.lower() in str(made).lower()


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_records_hold_the_photos_and_their_columns(tmp_path, encoding):
    table = image_table(tmp_path / "photos", SPLITS)
    convert(table, tmp_path / "out", encoding=encoding)
    for split, count in SPLITS.items():
        rows = table[table["split"] == split]
        found = read_all(tmp_path / "out", split.lower())
        assert len(found) == count
        for features, row in zip(found, rows.itertuples(), strict=True):
            assert features["split"] == split.encode()
            assert features["image_name"].decode() == row.image_uri.rsplit("/", 1)[1]
            assert ["dog", "cat"][features["label"]] == row.label
            decoded = np.asarray(Image.open(row.image_uri))
            np.testing.assert_array_equal(pixels(features), decoded)


def test_a_label_that_train_lacks_is_minus_one(tmp_path):
    table = image_table(tmp_path / "photos", SPLITS)
    table.loc[table["split"] == "TEST", "label"] = "rabbit"
    convert(table, tmp_path / "out")
    assert [features["label"] for features in read_all(tmp_path / "out", "test")] == [-1, -1]


def test_equal_rows_give_equal_shards_however_many_workers(tmp_path):
    table = image_table(tmp_path / "photos", {"TRAIN": 40, "TEST": 4})
    trees = []
    for name, workers in (("a", 1), ("b", 2)):
        convert(table, tmp_path / name, num_shards=4, workers=workers, encoding="jpeg")
        trees.append(tree(tmp_path / name))
    assert trees[0] == trees[1]
    assert sum(name.startswith("train-") for name in trees[0]) == 4


def test_the_manifest_tells_what_is_there(tmp_path):
    table = image_table(tmp_path / "photos", SPLITS)
    convert(table, tmp_path / "out", encoding="jpeg")
    manifest = manifest_of(tmp_path / "out")
    assert manifest["labels"] == ["dog", "cat"]
    assert manifest["counts"]["train"] == {"dog": 3, "cat": 3}
    assert (manifest["rows"], manifest["discarded"], manifest["encoding"]) == (10, 0, "jpeg")
    for shard in manifest["shards"]:
        content = (tmp_path / "out" / shard["file"]).read_bytes()
        assert len(content) == shard["bytes"]
        assert hashlib.sha256(content).hexdigest() == shard["sha256"]
    assert {"python", "pillow"} <= manifest["libraries"].keys()


def spoiled(folder) -> pd.DataFrame:
    """Ten good photos, four bad ones and two rows that belong nowhere."""
    table = image_table(folder, SPLITS)
    (folder / "empty, really.jpg").write_bytes(b"")
    (folder / "text\nfile.jpg").write_bytes(b"hello")
    (folder / "cut.jpg").write_bytes(encoded(picture(1, (90, 90)))[:400])
    names = ["empty, really.jpg", "text\nfile.jpg", "cut.jpg", "gone.jpg"]
    bad = pd.DataFrame(
        [("TRAIN", str(folder / name), "cat") for name in names]
        + [("DISCARD", "x.jpg", "cat"), ("HOLDOUT", "y.jpg", "cat")],
        columns=table.columns,
    )
    return pd.concat([table, bad], ignore_index=True)


def test_discards_are_listed_with_row_and_reason(tmp_path):
    made = convert(spoiled(tmp_path / "photos"), tmp_path / "out")
    assert made["metrics"] == {"rows": 16, "good_images": 10, "bad_images": 6}
    listed = pd.read_csv(tmp_path / "out" / "discarded.csv", keep_default_na=False)
    assert list(listed.columns) == ["path", "row", "reason", "exception"]
    assert listed["row"].tolist() == [11, 12, 13, 14, 15, 16]
    assert listed["path"][0].endswith("empty, really.jpg")
    assert listed["path"][1].endswith("text\nfile.jpg")
    assert listed["reason"].tolist() == [
        "empty file",
        "not an image",
        "cannot be decoded",
        "not found",
        "split DISCARD",
        "unknown split 'HOLDOUT'",
    ]
    assert listed["exception"][3].startswith("FileNotFoundError")
    assert data.describe(tmp_path / "out").discarded == 6


def test_too_many_bad_photos_leave_nothing_behind(tmp_path):
    table = spoiled(tmp_path / "photos")
    with pytest.raises(DataError, match="Too many bad photos: 4 of 16 rows") as error:
        convert(table, tmp_path / "out", max_bad_fraction=0.2)
    assert error.value.discarded[0]["reason"] == "empty file"
    assert not list(tmp_path.glob("out*"))
    convert(table, tmp_path / "out", max_bad_fraction=0.25)


def test_no_good_train_photo_is_an_error(tmp_path):
    table = image_table(tmp_path / "photos", {"TRAIN": 1, "TEST": 1})
    Path(table["image_uri"][0]).write_bytes(b"")
    with pytest.raises(DataError, match=r"No record for TRAIN[\s\S]*empty file"):
        convert(table, tmp_path / "out")
    with pytest.raises(DataError, match="No row has TRAIN"):
        convert(table[table["split"] == "TEST"], tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_a_folder_of_photos_is_a_source(tmp_path):
    photo_folder(tmp_path / "photos", {"cat": 10, "dog": 10})
    made = convert(str(tmp_path / "photos"), tmp_path / "out")
    assert made["metrics"]["good_images"] == 20
    assert set(data.describe(tmp_path / "out").counts) == {"train", "validation", "test"}


def test_equal_names_in_different_folders_are_kept_apart(tmp_path):
    table = pd.concat(
        [image_table(tmp_path / name, {"TRAIN": 1}, (name,)) for name in ("cat", "dog")]
    )
    convert(table, tmp_path / "out")
    found = read_all(tmp_path / "out")
    assert [features["image_name"] for features in found] == [b"TRAIN-000.jpg"] * 2
    assert {features["label"] for features in found} == {0, 1}


def test_nothing_is_overwritten_and_a_finished_plan_is_returned(tmp_path):
    table = image_table(tmp_path / "photos", SPLITS)
    first = convert(table, tmp_path / "out")
    with pytest.raises(DataError, match="exists already"):
        convert(table, tmp_path / "out")
    assert convert(table, tmp_path / "out", resume=True) == first
    with pytest.raises(DataError, match="exists already"):
        convert(table[:-1], tmp_path / "out", resume=True)


def test_two_conversions_in_the_same_second_do_not_collide(tmp_path, monkeypatch):
    monkeypatch.setattr("data.conversion.folder_name", lambda label: "tfrecorder-now")
    table = image_table(tmp_path / "photos", SPLITS)
    made, errors = [], []

    def work():
        try:
            made.append(data.convert(table, tmp_path / "out", progress=quiet)["tfrecord_dir"])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(set(made)) == 3
    assert all(data.describe(folder).counts["train"] for folder in made)


def test_progress_is_told_and_the_root_logger_left_alone(tmp_path):
    told = []
    before = (logging.root.level, list(logging.root.handlers))
    table = image_table(tmp_path / "photos", SPLITS)
    data.convert(
        table, tfrecord_dir=tmp_path / "out", progress=lambda *numbers: told.append(numbers)
    )
    assert told[0] == (0, 10) and told[-1] == (10, 10)
    assert (logging.root.level, list(logging.root.handlers)) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "webp"}, "Allowed: raw, jpeg"),
        ({"compression": "zip"}, "Allowed: gzip, None"),
        ({"num_shards": -1}, "num_shards"),
        ({"max_bad_fraction": 2}, "max_bad_fraction"),
        ({"workers": 0}, "workers"),
        ({"max_pixels": 0}, "max_pixels"),
        ({"schema": {"label": data.IMAGE_CSV_SCHEMA["label"]}}, "SplitKey"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, options, message):
    table = image_table(tmp_path / "photos", SPLITS)
    with pytest.raises(DataError, match=message):
        convert(table, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", [42, None, ["a.jpg"]])
def test_a_source_of_another_kind_is_refused(tmp_path, source):
    with pytest.raises(DataError, match=f"Cannot convert a {type(source).__name__}"):
        convert(source, tmp_path / "out")


def test_a_missing_source_is_refused(tmp_path):
    with pytest.raises(DataError, match="No such file or folder"):
        convert(str(tmp_path / "none.csv"), tmp_path / "out")
