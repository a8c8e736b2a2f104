import os
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

import data
from data import DataError
from data.cli import main
from data.sources.table import DIGEST
from tests.data.drawn import encoded, photo_folder, picture


def test_labels_in_folders_are_split_within_each_label(tmp_path):
    table = data.scan(photo_folder(tmp_path, {"cat": 50, "dog": 20}))
    assert list(table.columns) == ["split", "image_uri", "label", DIGEST]
    assert Counter(zip(table["label"], table["split"], strict=True)) == {
        ("cat", "TRAIN"): 40,
        ("cat", "VALIDATION"): 5,
        ("cat", "TEST"): 5,
        ("dog", "TRAIN"): 16,
        ("dog", "VALIDATION"): 2,
        ("dog", "TEST"): 2,
    }


def test_the_split_depends_on_content_alone(tmp_path):
    here = data.scan(photo_folder(tmp_path / "here", {"cat": 20, "dog": 20}))
    there = tmp_path / "there"
    shutil.copytree(tmp_path / "here", there)
    for number, path in enumerate(sorted(there.glob("*/*"), reverse=True)):
        path.rename(path.with_name(f"renamed-{number}.jpg"))
    again = data.scan(there)
    keys = ["split", "label", DIGEST]
    assert here[keys].equals(again[keys])
    assert (here["image_uri"] != again["image_uri"]).all()


def test_adding_a_label_leaves_the_others_as_they_were(tmp_path):
    photo_folder(tmp_path, {"cat": 20, "dog": 20})
    before = data.scan(tmp_path).set_index(DIGEST)["split"]
    photo_folder(tmp_path, {"rabbit": 20}, seed=9)
    after = data.scan(tmp_path).set_index(DIGEST)["split"]
    assert (after[before.index] == before).all()


def test_equal_photos_stay_in_one_split(tmp_path):
    photo_folder(tmp_path, {"cat": 10, "dog": 10})
    for path in list((tmp_path / "cat").iterdir()):
        for copy in range(3):
            shutil.copy(path, path.with_name(f"copy-{copy}-{path.name}"))
    table = data.scan(tmp_path)
    assert (table.groupby(DIGEST)["split"].nunique() == 1).all()
    assert set(table["split"]) == {"TRAIN", "VALIDATION", "TEST"}


@pytest.mark.parametrize("other", ["cow", "ant"])
def test_a_photo_under_two_labels_lands_in_one_split(tmp_path, other):
    photo_folder(tmp_path, {"cat": 40})
    photo_folder(tmp_path, {other: 20}, seed=5)
    for path in sorted((tmp_path / "cat").iterdir())[:30]:
        shutil.copy(path, tmp_path / other / f"also-{path.name}")
    table = data.scan(tmp_path, conflicts="keep")
    assert (table.groupby(DIGEST)["split"].nunique() == 1).all()
    counts = table.groupby(["label", "split"]).size()
    first = min("cat", other)
    assert counts[first, "VALIDATION"] == counts[first, "TEST"] == counts[first].sum() // 10
    assert counts.unstack().min().min() >= 2


@pytest.mark.parametrize("upper", [True, False])
def test_split_folders_are_kept(tmp_path, upper):
    for number, split in enumerate(("TRAIN", "VALIDATION", "TEST")):
        folder = tmp_path / (split if upper else split.lower())
        photo_folder(folder, {"cat": 3, "dog": 2}, seed=number)
    table = data.scan(tmp_path)
    assert Counter(table["split"]) == {"TRAIN": 5, "VALIDATION": 5, "TEST": 5}
    assert Counter(table["label"]) == {"cat": 9, "dog": 6}


def test_a_discard_folder_beside_split_folders_is_one_of_them(tmp_path, caplog):
    for number, split in enumerate(("TRAIN", "TEST", "DISCARD")):
        photo_folder(tmp_path / split, {"cat": 2, "dog": 2}, seed=number)
    shutil.copy(tmp_path / "TRAIN/cat/000.jpg", tmp_path / "DISCARD/cat/same.jpg")
    made = data.convert(
        str(tmp_path), tfrecord_dir=tmp_path / ".out", progress=lambda done, total: None
    )
    assert made["metrics"] == {"rows": 13, "good_images": 8, "bad_images": 5}
    assert "more than one split" not in caplog.text
    photo_folder(tmp_path / "labels", {"discard": 3, "dog": 3})
    assert set(data.scan(tmp_path / "labels")["label"]) == {"discard", "dog"}


def test_files_at_another_depth_are_counted(tmp_path, caplog):
    photo_folder(tmp_path, {"cat": 5, "dog": 5})
    photo_folder(tmp_path / "cat", {"kittens": 4, "kittens/small": 3})
    (tmp_path / "README").write_text("of the collection: no photo")
    os.symlink(tmp_path / "cat", tmp_path / "cat" / "kittens" / "round-and-round")
    assert len(data.scan(tmp_path)) == 10
    assert "7 files are skipped, such as" in caplog.text
    assert "cat/kittens" in caplog.text and "at <label>/<photo>" in caplog.text


def test_a_share_of_zero_gives_no_photos(tmp_path):
    table = data.scan(photo_folder(tmp_path, {"cat": 2, "dog": 9}), split=(0.8, 0.2, 0))
    assert set(table["split"]) == {"TRAIN", "VALIDATION"}


def test_hidden_files_are_ignored(tmp_path):
    photo_folder(tmp_path, {"cat": 5, "dog": 5})
    for name in (".DS_Store", "._1.jpg", "Thumbs.db", "desktop.ini"):
        (tmp_path / "cat" / name).write_bytes(b"x")
    (tmp_path / "__MACOSX" / "cat").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "cat" / "1.jpg").write_bytes(b"x")
    (tmp_path / ".thumbnails").mkdir()
    (tmp_path / ".thumbnails" / "t.jpg").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    assert len(data.scan(tmp_path)) == 10


NAMES = [
    "a, b.jpg",
    'quo"te.jpg',
    "new\nline.jpg",
    "snow ☃ ü.jpg",
    " space .jpg",
    "no-ending",
    "'%s'",
]


def test_odd_names_are_kept_as_they_are(tmp_path):
    for label in ("cat, the", 'do"g ☃'):
        (tmp_path / label).mkdir()
        for number, name in enumerate(NAMES):
            content = encoded(picture(hash((label, number)) % 10_000))
            (tmp_path / label / name).write_bytes(content)
    table = data.scan(tmp_path)
    assert set(table["label"]) == {"cat, the", 'do"g ☃'}
    assert {uri.rsplit("/", 1)[1] for uri in table["image_uri"]} == set(NAMES)


def test_one_photo_under_two_labels_is_an_error_that_names_both(tmp_path):
    photo_folder(tmp_path, {"cat": 5, "dog": 5})
    shutil.copy(tmp_path / "cat" / "000.jpg", tmp_path / "dog" / "also.jpg")
    with pytest.raises(DataError, match="under two labels: 1 photos") as error:
        data.scan(tmp_path)
    for expected in ("cat/000.jpg", "dog/also.jpg", "set conflicts to drop"):
        assert expected in str(error.value)
    dropped = data.scan(tmp_path, conflicts="drop")
    assert len(dropped) == 9
    assert not dropped["image_uri"].str.endswith(("cat/000.jpg", "dog/also.jpg")).any()
    assert len(data.scan(tmp_path, conflicts="keep")) == 11


def test_a_photo_in_two_splits_gives_a_warning(tmp_path, caplog):
    for number, split in enumerate(("TRAIN", "TEST")):
        photo_folder(tmp_path / split, {"cat": 2, "dog": 2}, seed=number)
    shutil.copy(tmp_path / "TRAIN/cat/000.jpg", tmp_path / "TEST/cat/same.jpg")
    data.scan(tmp_path)
    assert "in more than one split" in caplog.text


def missing(folder):
    return folder / "nowhere", "No such folder"


def empty(folder):
    return folder, "No photos in"


def one_label(folder):
    return photo_folder(folder, {"cat": 5}), "Fewer than two labels in .*'cat'"


def too_few(folder):
    return photo_folder(folder, {"cat": 5, "dog": 2}), "Too few photos to split: 'dog' has 2"


def mixed(folder):
    photo_folder(folder / "TRAIN", {"cat": 3, "dog": 3})
    return photo_folder(folder, {"rabbit": 3}), "other folders are mixed.*'rabbit'"


@pytest.mark.parametrize("case", [missing, empty, one_label, too_few, mixed])
def test_an_invalid_folder_is_refused(tmp_path, case):
    folder, message = case(tmp_path)
    with pytest.raises(DataError, match=message):
        data.scan(folder)


NAN = float("nan")


@pytest.mark.parametrize(
    "split",
    [
        (0.8, 0.1),
        (0.8, 0.1, 0.2),
        (0, 0.5, 0.5),
        (1.2, -0.1, -0.1),
        (0.8, NAN, 0.2),
        (NAN, 0.5, 0.5),
        (float("inf"), 0, 0),
    ],
)
def test_invalid_shares_are_refused(tmp_path, split):
    with pytest.raises(DataError, match="Invalid shares"):
        data.scan(tmp_path, split=split)


def test_unknown_conflicts_are_refused(tmp_path):
    with pytest.raises(DataError, match="Allowed: error, drop, keep"):
        data.scan(tmp_path, conflicts="ignore")


def test_a_photo_that_changed_since_it_was_listed_stops_the_conversion(tmp_path):
    photos, quiet = tmp_path / "photos", lambda done, total: None
    table = data.scan(photo_folder(photos, {"cat": 10, "dog": 10}))
    changed = table["image_uri"][3]
    Path(changed).write_bytes(encoded(picture(99)))
    with pytest.raises(DataError, match=f"{changed} changed since it was listed"):
        data.convert(table, tfrecord_dir=tmp_path / "out", progress=quiet)
    assert not (tmp_path / "out").exists()
    data.convert(data.scan(photos), tfrecord_dir=tmp_path / "out", progress=quiet)


def test_links_are_followed_and_broken_ones_are_listed(tmp_path):
    photos = photo_folder(tmp_path / "photos", {"cat": 10})
    dogs = photo_folder(tmp_path / "elsewhere", {"dog": 10}, seed=1)
    os.symlink(dogs / "dog", photos / "dog")
    os.symlink(photos / "dog", dogs / "dog" / "round")
    for label in ("cat", "dog"):
        os.symlink(tmp_path / "gone.jpg", photos / label / "gone.jpg")
    table = data.scan(photos)
    assert Counter(table["label"]) == {"cat": 11, "dog": 11}
    made = data.convert(
        table,
        tfrecord_dir=tmp_path / "out",
        max_bad_fraction=0.5,
        progress=lambda done, total: None,
    )
    listed = (Path(made["tfrecord_dir"]) / "discarded.csv").read_text()
    assert listed.count("gone.jpg") >= 2 and listed.count("not found") == 2


def test_similar_and_empty_label_folders_give_a_warning(tmp_path, caplog):
    photo_folder(tmp_path, {"cat": 10, "Cat": 10, "dog": 10})
    photo_folder(tmp_path, {"caf\u00e9": 10, "cafe\u0301": 10}, seed=5)
    (tmp_path / "rabbit").mkdir()
    data.scan(tmp_path, conflicts="keep")
    assert "labels 'Cat', 'cat' differ only in case" in caplog.text
    assert caplog.text.count("differ only in case or") == 2
    assert "folders without files are not used as labels: 'rabbit'" in caplog.text


@pytest.fixture
def listed(tmp_path):
    """The table of an Image CSV: 12 photos, and rows that are added."""
    folder = photo_folder(tmp_path, {"cat": 6, "dog": 6})
    paths = sorted(map(str, folder.glob("*/*.jpg")))
    rows = [("TRAIN", path, Path(path).parent.name) for path in paths]

    def table(*further):
        added = [(split, paths[photo], label) for split, photo, label in further]
        return pd.DataFrame([*rows, *added], columns=["split", "image_uri", "label"])

    return table


def test_a_csv_with_one_photo_under_two_labels_is_refused_by_its_rows(listed):
    with pytest.raises(DataError, match=r"row 1: .*000.jpg' .cat. = row 13: .*000.jpg' .dog."):
        data.check_photos(listed(("TRAIN", 0, "dog")))
    assert len(data.check_photos(listed(("DISCARD", 0, "dog")))) == 13, "it is not used"
    assert len(data.check_photos(listed(("TRAIN", 0, "dog")), conflicts="keep")) == 13
    dropped = data.check_photos(listed(("TRAIN", 0, "dog")), conflicts="drop")
    assert [row for row, split in enumerate(dropped["split"]) if split == "DISCARD"] == [0, 12]


def test_a_conversion_refuses_one_photo_under_two_labels_where_asked(listed, tmp_path):
    rows = listed(("TRAIN", 0, "dog")).set_axis(["part", "file", "animal"], axis=1)
    schema = {"part": data.SplitKey, "file": data.ImageUri, "animal": data.StringLabel}
    made = {"schema": schema, "tfrecord_dir": tmp_path / "out", "progress": lambda *_: None}
    with pytest.raises(DataError, match=r"row 1: .*000.jpg' .cat. = row 13: .*000.jpg' .dog."):
        data.convert(rows, conflicts="error", **made)
    assert not (tmp_path / "out").exists()
    assert data.convert(rows, conflicts="drop", **made)["metrics"]["good_images"] == 11


def test_the_command_line_refuses_one_photo_under_two_labels_by_default(listed, tmp_path, capsys):
    listed(("TRAIN", 0, "dog")).to_csv(tmp_path / "photos.csv", index=False)
    convert = ["convert", f"{tmp_path}/photos.csv", "--tfrecord-dir", f"{tmp_path}/out"]
    assert main(convert) == 2
    assert "The same photo under two labels" in capsys.readouterr().err
    assert main([*convert, "--conflicts", "keep"]) == 0


def test_a_csv_with_one_photo_in_two_splits_gives_a_warning(listed, caplog):
    table = data.check_photos(listed(("TEST", 0, "cat")))
    assert "2 files hold a photo that is in more than one split" in caplog.text
    assert table[DIGEST].nunique() == 12


def test_photos_of_a_csv_that_are_missing_or_in_a_bucket_are_not_read(listed):
    table = listed()
    table.loc[0, "image_uri"] = "/no/such.jpg"
    assert data.check_photos(table)[DIGEST].nunique() == 12
    table.loc[0, "image_uri"] = "gs://bucket/a.jpg"
    assert DIGEST not in data.check_photos(table)
    table.loc[6, "image_uri"] = "gs://bucket/a.jpg"
    with pytest.raises(DataError, match="The same photo under two labels"):
        data.check_photos(table)
