"""Arguments that `convert` refuses, with their messages."""

from pathlib import Path

import pytest

import data
from data import DataError
from tests.data.drawn import image_table
from tests.data.test_convert import SPLITS, convert


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
def test_invalid_options_are_refused(tmp_path, options, message):
    table = image_table(tmp_path / "photos", SPLITS)
    with pytest.raises(DataError, match=message):
        convert(table, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runner": None}, "runner must be the name of a Beam runner.*None"),
        ({"schema": None}, "maps column names to types"),
        ({"names": ["split", "photo", "kind"]}, "lacks the columns 'photo', 'kind'"),
        ({"job_label": "a/b"}, "job_label: 'a/b'\n.*without slashes"),
        ({"job_label": None}, "job_label: None"),
        ({"output_dir": "s3://bucket/out"}, "Cannot reach s3://bucket/out"),
        ({"output_dir": None}, "Received: None"),
        ({"tfrecord_dir": ""}, "Cannot create the folder ''"),
        ({"tfrecord_dir": "a\0b"}, "zero bytes"),
        ({"source": "a\0b"}, "zero bytes"),
        ({"source": Path("gs://bucket/photos")}, "gs://bucket/name as text"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(tmp_path, options, message):
    call = {"source": image_table(tmp_path / "photos", SPLITS), "output_dir": tmp_path / "out"}
    with pytest.raises(DataError, match=message):
        data.convert(**call | options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", [42, None, ["a.jpg"]])
def test_an_unsupported_source_is_refused(tmp_path, source):
    with pytest.raises(DataError, match=f"Cannot convert a {type(source).__name__}"):
        convert(source, tmp_path / "out")


def test_a_missing_source_is_refused(tmp_path):
    with pytest.raises(DataError, match="No such file or folder"):
        convert(str(tmp_path / "none.csv"), tmp_path / "out")


def test_labels_that_differ_only_in_line_breaks_are_refused(tmp_path):
    table = image_table(tmp_path / "photos", {"TRAIN": 4}, ("big cat", "big\ncat"))
    with pytest.raises(DataError, match=r"only in their line breaks\n.*'big(\\n| )cat' and 'big"):
        convert(table, tmp_path / "out")
    table = image_table(tmp_path / "photos", {"TRAIN": 4}, ("big\u2028cat", "big\ncat"))
    convert(table, tmp_path / "out")
    folder = tmp_path / "out" / "transform_fn" / "assets"
    (vocabulary,) = folder.iterdir()
    assert sorted(vocabulary.read_bytes().decode().split("\n")) == ["", "big cat", "big\u2028cat"]
