import numpy as np
import pandas as pd
import pytest

import data
from data import DataError, Schema
from data.table import check_table, image_csv, vocabulary


def csv_file(folder, text: str):
    path = folder / "data.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_found_by_name_in_any_order(tmp_path):
    path = csv_file(tmp_path, "who,label,image_uri,split\nme,cat,a.jpg,TRAIN\nme,dog,b.jpg,TEST\n")
    table = data.read_csv(path)
    assert table.to_dict("list") == {
        "split": ["TRAIN", "TEST"],
        "image_uri": ["a.jpg", "b.jpg"],
        "label": ["cat", "dog"],
    }


def test_commas_quotes_newlines_and_unicode_come_through(tmp_path):
    odd = ["a,b.jpg", 'quo"te.jpg', "new\nline.jpg", "re\rturn.jpg", "snow ☃.jpg", " blank .jpg"]
    frame = pd.DataFrame({"split": "TRAIN", "image_uri": odd, "label": 'la,b"el\n☃'})
    (tmp_path / "data.csv").write_bytes(image_csv(frame))
    table = data.read_csv(tmp_path / "data.csv")
    assert table["image_uri"].tolist() == odd
    assert set(table["label"]) == {'la,b"el\n☃'}


def test_labels_are_stripped_and_splits_put_in_upper_case(tmp_path, caplog):
    caplog.set_level("INFO", "pawprint")
    path = csv_file(tmp_path, "split,image_uri,label\n train,a.jpg, cat \nTest,b.jpg,cat\n")
    table = data.read_csv(path)
    assert table["label"].tolist() == ["cat", "cat"]
    assert table["split"].tolist() == ["TRAIN", "TEST"]
    assert "'Test', 'train' taken as upper case" in caplog.text


def test_unknown_splits_are_listed(tmp_path, caplog):
    path = csv_file(tmp_path, "split,image_uri,label\nTRAIN,a,x\nHOLDOUT,b,x\nHOLDOUT,c,x\n")
    data.read_csv(path)
    assert "'HOLDOUT' (2 rows)" in caplog.text


def test_a_file_without_header(tmp_path):
    path = csv_file(tmp_path, "TRAIN,a.jpg,cat\n")
    assert data.read_csv(path, header=None)["label"].tolist() == ["cat"]
    named = data.read_csv(path, header=None, names=["split", "image_uri", "label"])
    assert named["label"].tolist() == ["cat"]


def test_text_that_looks_like_missing_is_text(tmp_path):
    path = csv_file(tmp_path, "split,image_uri,label\nTRAIN,NA,None\nTRAIN,null,nan\n")
    assert data.read_csv(path)["label"].tolist() == ["None", "nan"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("split,label\nTRAIN,x\n", r"lacks column 'image_uri'[\s\S]*Found: 'split', 'label'"),
        ("a,b\n1,2\n", "lacks columns 'split', 'image_uri', 'label'"),
        ("split,image_uri,label\n", "has no rows"),
        ("", "is no CSV file"),
        ("split,image_uri,label\nTRAIN,a,x\nTRAIN,b,\n", "'label'\n.*row 2: ''"),
        ("split,image_uri,label\nTRAIN,,x\n", "'image_uri'\n.*row 1: ''"),
        ("split,image_uri,label\nTRAIN,a,  \n", "'label'\n.*row 1: ''"),
        ('split,image_uri,label\nTRAIN,a,"x\n', "is no CSV file"),
    ],
)
def test_a_csv_that_cannot_serve_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        data.read_csv(csv_file(tmp_path, text))


def test_a_missing_csv_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read .*none\.csv"):
        data.read_csv(tmp_path / "none.csv")


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, ""])
def test_missing_labels_of_a_table_are_refused_with_their_rows(missing):
    frame = pd.DataFrame(
        {"split": "TRAIN", "image_uri": ["a", "b", "c"], "label": ["x", missing, "y"]}
    )
    with pytest.raises(DataError, match="row 2"):
        check_table(frame)


def test_numbers_are_checked():
    kinds = {"split": data.SplitKey, "n": data.IntegerInput, "x": data.FloatInput}
    frame = pd.DataFrame({"split": "TRAIN", "n": ["1", "2"], "x": ["0.5", "1e3"]})
    clean = check_table(frame, kinds)
    assert clean["n"].tolist() == [1, 2] and clean["x"].tolist() == [0.5, 1000.0]
    for column, bad in (("n", "1.5"), ("n", "many"), ("x", "inf"), ("x", "")):
        with pytest.raises(DataError, match=f"column '{column}'"):
            check_table(frame.assign(**{column: ["1", bad]}), kinds)


def test_classes_are_checked():
    frame = pd.DataFrame({"split": ["TRAIN", "TRAIN", "TEST"], "label": ["cat", "dog", "dog"]})
    with pytest.raises(DataError, match="No TEST photos of 'cat'"):
        data.check_classes(frame, needed=("TRAIN", "TEST"))
    with pytest.raises(DataError, match="Fewer than two labels"):
        data.check_classes(frame[frame["label"] == "dog"])


def test_the_vocabulary_is_in_tensorflow_transforms_order():
    labels = pd.Series(["a"] * 2 + ["b"] * 3 + ["c"] * 2 + ["ü"] * 2)
    assert vocabulary(labels) == ["b", "ü", "c", "a"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": data.StringLabel}, "exactly one SplitKey"),
        ({"split": data.SplitKey, "s": data.SplitKey}, "exactly one SplitKey"),
        (
            {"split": data.SplitKey, "a": data.ImageUri, "b": data.ImageUri},
            "one ImageUri column",
        ),
        ({"split": data.SplitKey, "a": "text"}, "Unknown type of column 'a'"),
    ],
)
def test_a_schema_that_makes_no_sense_is_refused(columns, message):
    with pytest.raises(DataError, match=message):
        Schema(columns)
