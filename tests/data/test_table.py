import numpy as np
import pandas as pd
import pytest

import data
from data import DataError, Schema
from data.sources.table import DIGEST, check_table, image_csv, vocabulary


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


def test_commas_quotes_newlines_and_unicode_are_preserved(tmp_path):
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
    assert "'Test', 'train' converted to upper case" in caplog.text


def test_a_duplicate_column_is_an_error_if_the_schema_has_it(tmp_path):
    path = csv_file(tmp_path, "split,image_uri,label,label\nTRAIN,a.jpg,cat,dog\n")
    with pytest.raises(DataError, match=r"data\.csv has the column 'label' more than once"):
        data.read_csv(path)
    path = csv_file(tmp_path, "split,who,image_uri,label,who\nTRAIN,me,a.jpg,cat,you\n")
    assert data.read_csv(path)["label"].tolist() == ["cat"]


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


def test_bytes_that_are_not_utf8_are_preserved(tmp_path):
    frame = pd.DataFrame({"split": "TRAIN", "image_uri": ["\udce9t\udce9.jpg"], "label": ["x"]})
    (tmp_path / "data.csv").write_bytes(image_csv(frame))
    assert b"\xe9t\xe9.jpg" in (tmp_path / "data.csv").read_bytes()
    assert data.read_csv(tmp_path / "data.csv")["image_uri"].tolist() == ["\udce9t\udce9.jpg"]


def test_empty_fields_at_the_end_of_every_row_are_ignored(tmp_path):
    path = csv_file(tmp_path, "split,image_uri,label\nTRAIN,a.jpg,cat,\nTEST,b.jpg,dog,\n")
    assert data.read_csv(path)["label"].tolist() == ["cat", "dog"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "split,image_uri,label\nTRAIN,a,b.jpg,cat\nTRAIN,c.jpg,dog\n",
            "first row of .* has more fields",
        ),
        ("split,image_uri,label\nTRAIN,c.jpg,dog\nTRAIN,a,b.jpg,cat\n", "line 3, saw 4"),
        ("split,label\nTRAIN,x\n", r"lacks column 'image_uri'[\s\S]*Found: 'split', 'label'"),
        ("a,b\n1,2\n", "lacks columns 'split', 'image_uri', 'label'"),
        ("split,image_uri,label\n", "has no rows"),
        ("", "is not a valid CSV file"),
        ("split,image_uri,label\nTRAIN,a,x\nTRAIN,b,\n", "'label'\n.*row 2: ''"),
        ("split,image_uri,label\nTRAIN,,x\n", "'image_uri'\n.*row 1: ''"),
        ("split,image_uri,label\nTRAIN,a,  \n", "'label'\n.*row 1: ''"),
        ('split,image_uri,label\nTRAIN,a,"x\n', "is not a valid CSV file"),
    ],
)
def test_an_invalid_csv_is_refused(tmp_path, text, message):
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
    for column, bad in (("n", "1.5"), ("n", "many"), ("n", "1_0"), ("x", "inf"), ("x", "")):
        with pytest.raises(DataError, match=f"column '{column}'"):
            check_table(frame.assign(**{column: ["1", bad]}), kinds)


def test_whole_numbers_keep_every_digit_and_are_refused_beyond_64_bits():
    kinds = {"split": data.SplitKey, "n": data.IntegerInput}
    good = {
        "9007199254740993": 2**53 + 1,
        "3.0": 3,
        "1e3": 1000,
        str(-(2**63)): -(2**63),
        str(2**63 - 1): 2**63 - 1,
    }
    clean = check_table(pd.DataFrame({"split": "TRAIN", "n": [*good]}), kinds)
    assert clean["n"].tolist() == [*good.values()]
    for bad in (str(2**63), "18446744073709551615", "1e30", "1e999999999", "-1e19", "1e-9"):
        with pytest.raises(DataError, match=r"row 1: .*\n.*64-bit whole number"):
            check_table(pd.DataFrame({"split": "TRAIN", "n": [bad]}), kinds)


@pytest.mark.parametrize("bad", ["1e300", "-1e39", "nan", 1e300])
def test_numbers_are_refused_beyond_32_bits(bad):
    kinds = {"split": data.SplitKey, "x": data.FloatInput}
    with pytest.raises(DataError, match="32-bit number"):
        check_table(pd.DataFrame({"split": "TRAIN", "x": [bad]}), kinds)


def test_a_user_column_named_sha256_has_no_special_meaning(tmp_path):
    kinds = {"split": data.SplitKey, "sha256": data.StringInput}
    frame = pd.DataFrame({"split": ["TRAIN", "TEST"], "sha256": ["a", "b"], "more": "x"})
    assert list(check_table(frame, kinds).columns) == ["split", "sha256"]
    photos = pd.DataFrame({"split": ["TRAIN"], "image_uri": ["a"], "label": ["x"], "sha256": [1]})
    assert list(check_table(photos).columns) == ["split", "image_uri", "label"]
    listed = photos.assign(**{DIGEST: "of an older photo"})
    listed.to_csv(tmp_path / "data.csv", index=False)
    assert DIGEST in check_table(listed) and DIGEST not in data.read_csv(tmp_path / "data.csv")


@pytest.mark.parametrize("odd", ["a\0b", "\ud800"])
@pytest.mark.parametrize("column", ["image_uri", "label"])
def test_text_that_cannot_be_stored_is_refused(column, odd):
    frame = pd.DataFrame({"split": "TRAIN", "image_uri": ["a", "b"], "label": "x"})
    frame[column] = ["good", odd]
    with pytest.raises(DataError, match=f"column '{column}'\n.*row 2: "):
        check_table(frame)


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
        (None, "maps column names to types. Received: None"),
    ],
)
def test_an_invalid_schema_is_refused(columns, message):
    with pytest.raises(DataError, match=message):
        Schema(columns)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("sep", [";", "\t", ","])
def test_csv_files_of_spreadsheets_are_read(tmp_path, encoding, sep):
    rows = [["split", "image_uri", "label"], ["TRAIN", "a.jpg", "süß"], ["TEST", "b.jpg", "dog"]]
    text = "\r\n".join(sep.join(row) for row in rows)
    (tmp_path / "data.csv").write_bytes(text.encode(encoding))
    table = data.read_csv(tmp_path / "data.csv")
    assert table["label"].tolist() == ["süß", "dog"]


def test_home_relative_and_file_paths_of_photos_are_resolved(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    photo = tmp_path / "my cats" / "a.jpg"
    photo.parent.mkdir()
    photo.touch()
    uris = ["~/my cats/a.jpg", photo.as_uri(), "my cats/a.jpg", "my cats\\a.jpg", str(photo)]
    path = csv_file(tmp_path, "split,image_uri,label\n" + "".join(f"TRAIN,{u},c\n" for u in uris))
    assert data.read_csv(path)["image_uri"].tolist() == [str(photo)] * len(uris)


def test_missing_paths_and_uris_are_unchanged(tmp_path):
    uris = ["none\\such.jpg", "gs://bucket/a.jpg"]
    path = csv_file(tmp_path, "split,image_uri,label\n" + "".join(f"TRAIN,{u},c\n" for u in uris))
    assert data.read_csv(path)["image_uri"].tolist() == uris


def test_a_web_address_is_refused_with_its_row(tmp_path):
    path = csv_file(tmp_path, "split,image_uri,label\nTRAIN,a.jpg,c\nTRAIN,https://x.org/b.jpg,c\n")
    with pytest.raises(DataError, match=r"row 2: 'https://x\.org/b\.jpg'"):
        data.read_csv(path)
