import hashlib
import logging
import threading

import numpy as np
import pandas as pd
import pytest
from google.protobuf import text_format
from PIL import Image
from tensorflow_metadata.proto.v0 import schema_pb2

import data
from data import DataError
from data.conversion.planning import make_plan
from data.record.photos import EncodeOptions, pixels
from data.sources.table import check_table
from tests.data.drawn import image_table, manifest_of, photo_folder, read_all

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


def test_the_manifest_describes_the_records(tmp_path):
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


def test_the_schema_of_any_column_name_is_read(tmp_path):
    names = ["größe ☃", 'a"b', "back\\slash"]
    kinds = {"split": data.SplitKey, **dict.fromkeys(names, data.IntegerInput)}
    convert(
        pd.DataFrame({"split": ["TRAIN"], **dict.fromkeys(names, 1)}),
        tmp_path / "out",
        schema=kinds,
    )
    text = (tmp_path / "out" / "transformed_metadata" / "schema.pbtxt").read_text()
    schema = text_format.Parse(text, schema_pb2.Schema())
    assert {feature.name for feature in schema.feature} == {"split", *names}


def test_a_plan_is_another_with_another_pillow(tmp_path, monkeypatch):
    table = check_table(image_table(tmp_path, {"TRAIN": 2}))
    plans = []
    for version in ("12.3.0", "12.3.0", "13.0.0"):
        monkeypatch.setattr("PIL.__version__", version)
        options = EncodeOptions()
        plans.append(make_plan(table, data.IMAGE_CSV_SCHEMA, options, gzip=False).digest)
    assert plans[0] == plans[1] != plans[2]


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
    monkeypatch.setattr("data.conversion.convert.folder_name", lambda label: "tfrecorder-now")
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


def test_progress_is_reported_and_the_root_logger_unchanged(tmp_path):
    calls = []
    before = (logging.root.level, list(logging.root.handlers))
    table = image_table(tmp_path / "photos", SPLITS)
    data.convert(
        table, tfrecord_dir=tmp_path / "out", progress=lambda *numbers: calls.append(numbers)
    )
    assert calls[0] == (0, 10) and calls[-1] == (10, 10)
    assert (logging.root.level, list(logging.root.handlers)) == before


def test_nearly_black_photos_give_a_warning_with_their_labels(tmp_path, caplog):
    table = image_table(tmp_path / "photos", SPLITS)
    row = table[table["split"] == "TRAIN"].iloc[0]
    Image.new("RGB", (20, 20), (3, 0, 1)).save(row["image_uri"])
    data.convert(table, tfrecord_dir=tmp_path / "records")
    warnings = [text for text in caplog.messages if "nearly all black or white" in text]
    assert len(warnings) == 1
    assert warnings[0].startswith("1 photos")
    assert f"{row['image_uri']} ({row['label']})" in warnings[0]
