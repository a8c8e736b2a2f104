"""Rows that do not become records: which, why, and too many of them."""

import csv
import errno
from pathlib import Path

import pandas as pd
import pytest

import data
from data import DataError
from data.conversion.journal import check_bad_fraction
from data.conversion.plan import ConversionPlan
from data.conversion.planning import make_plan
from data.conversion.shard import write_shard
from data.record.photos import EncodeOptions
from data.sources.table import check_table
from tests.data.drawn import encoded, image_table, picture
from tests.data.test_convert import SPLITS, convert


def spoiled(folder) -> pd.DataFrame:
    """Ten good photos, four bad ones and two rows without a known split."""
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


def test_too_many_bad_photos_keep_the_work_for_another_bound(tmp_path):
    table = spoiled(tmp_path / "photos")
    with pytest.raises(DataError, match="Too many bad photos: 4 of 16 rows") as error:
        convert(table, tmp_path / "out", max_bad_fraction=0.2)
    assert error.value.discarded[0]["reason"] == "empty file"
    assert not (tmp_path / "out").exists()
    (shard,) = tmp_path.glob("out.partial/train-*")
    written = shard.stat().st_mtime_ns
    convert(table, tmp_path / "out", max_bad_fraction=0.25, resume=True)
    assert (tmp_path / "out" / shard.name).stat().st_mtime_ns == written
    assert not (tmp_path / "out.partial").exists()


def test_a_share_of_bad_photos_is_counted_exactly(tmp_path):
    plan = ConversionPlan([], [], 100, {}, None, {}, {}, "")
    check_bad_fraction(plan, [{}] * 29, 0.29)  # 0.29 * 100 is below 29
    bad = {"row": 1, "path": "x.jpg", "reason": "empty file"}
    with pytest.raises(DataError, match="29 of 100"):
        check_bad_fraction(plan, [bad] * 29, 0.28)


def test_rows_with_invalid_paths_are_discarded(tmp_path):
    table = image_table(tmp_path / "photos", {"TRAIN": 1})
    photo = table["image_uri"][0]
    odd = {
        str(tmp_path): "a folder",
        f"{photo}/x.jpg": "not found",
        "x" * 300: "no possible path",
        "gs://": "not found",
        "gs://bucket": "not found",
    }
    rows = pd.DataFrame({"split": "TRAIN", "image_uri": [*odd], "label": "cat"})
    convert(pd.concat([table, rows]), tmp_path / "out")
    listed = pd.read_csv(tmp_path / "out" / "discarded.csv")
    assert listed["reason"].tolist() == [*odd.values()]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EIO, "the disk"), OSError("503"), MemoryError(), DataError("No credentials")],
    ids=repr,
)
def test_errors_other_than_bad_photos_discard_nothing(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    table = image_table(tmp_path, {"TRAIN": 2})
    monkeypatch.setattr("data.storage.files.read", fail)
    plan = make_plan(check_table(table), data.IMAGE_CSV_SCHEMA, EncodeOptions(), gzip=False)
    with pytest.raises(type(error)):
        write_shard(plan.shards[0], str(tmp_path))


def test_the_path_of_a_discard_may_have_any_line_break(tmp_path):
    table = image_table(tmp_path / "photos", {"TRAIN": 1})
    odd = ["a\rb.jpg", "a\r\nb.jpg", "a\nb.jpg", "\udce9.jpg"]
    rows = pd.DataFrame({"split": "TRAIN", "image_uri": odd, "label": "cat"})
    convert(pd.concat([table, rows]), tmp_path / "out")
    stream = (tmp_path / "out" / "discarded.csv").open(newline="", errors="surrogateescape")
    with stream:
        assert [row["path"] for row in csv.DictReader(stream)] == odd
    listed = pd.read_csv(stream.name, encoding_errors="surrogateescape")
    assert listed["path"].tolist() == odd


def test_no_good_train_photo_is_an_error(tmp_path):
    table = image_table(tmp_path / "photos", {"TRAIN": 1, "TEST": 1})
    Path(table["image_uri"][0]).write_bytes(b"")
    with pytest.raises(DataError, match=r"No records for TRAIN[\s\S]*empty file"):
        convert(table, tmp_path / "out")
    with pytest.raises(DataError, match="No row has TRAIN"):
        convert(table[table["split"] == "TEST"], tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
