"""Which split a photo goes to: by its content, the same in every release."""

import logging

import pandas as pd
import pytest

from data.errors import DataError
from data.sources.splitting import assign_splits, resolve_conflicts, warn_of_leaks

LETTERS = {"TRAIN": "t", "VALIDATION": "v", "TEST": "x"}
USUAL = (0.8, 0.1, 0.1)


def table(**digests: str) -> pd.DataFrame:
    """One row a letter: label=letters, where a letter is the digest of a photo."""
    rows = [(label, digest) for label, photos in digests.items() for digest in photos]
    made = pd.DataFrame(rows, columns=["label", "digest"])
    return made.assign(image_uri=made["label"] + "/" + made["digest"] + ".jpg")


def splits(shares: tuple[float, float, float], **digests: str) -> str:
    """The split of each row as a letter."""
    return "".join(LETTERS[name] for name in assign_splits(table(**digests), shares))


@pytest.mark.parametrize(
    ("photos", "expected"),
    [
        ({"dog": "klmnopqrst"}, "ttvtttxttt"),
        ({"cat": "abcdefghij", "dog": "abcdeklmno"}, "vxttttttttvxtttttttt"),
        # A photo under several labels: the first label's split, and the others fill up.
        ({"a": "abc", "b": "bcd", "c": "cde"}, "vxtxtvtvx"),
    ],
    ids=["one-label", "two-labels", "shared-photos"],
)
def test_the_split_of_a_photo_is_the_same_in_every_release(photos, expected):
    # Recorded once: a release that splits otherwise tests on what an earlier one trained on.
    assert splits(USUAL, **photos) == expected


@pytest.mark.parametrize(
    ("count", "shares", "train", "validation", "test"),
    [
        (3, USUAL, 1, 1, 1),
        (10, USUAL, 8, 1, 1),
        (15, USUAL, 11, 2, 2),  # 1.5 rounds to 2
        (7, (0.5, 0.25, 0.25), 3, 2, 2),
        (6, (0.9, 0.1, 0.0), 5, 1, 0),
        # Rounded, validation and test would take all: the larger gives one back to train.
        (4, (0.1, 0.45, 0.45), 1, 1, 2),
        (8, (0.1, 0.45, 0.45), 1, 3, 4),
        (3, (0.1, 0.45, 0.45), 1, 1, 1),
    ],
)
def test_shares_are_rounded_and_train_keeps_a_photo(count, shares, train, validation, test):
    found = splits(shares, cat="".join(chr(ord("a") + number) for number in range(count)))
    assert (found.count("t"), found.count("v"), found.count("x")) == (train, validation, test)


def test_all_labels_with_too_few_photos_are_named_up_to_five():
    few = dict.fromkeys("mnopqr", "ab")
    with pytest.raises(DataError) as error:
        assign_splits(table(cat="abcdef", **few), USUAL)
    text = str(error.value)
    assert "'m' has 2, 'n' has 2, 'o' has 2, 'p' has 2, 'q' has 2" in text and "'r'" not in text
    assert "at least 3 distinct photos" in text and "TRAIN, VALIDATION, TEST" in text


@pytest.mark.parametrize(("shared", "more"), [("abcde", ""), ("abcdefg", "and 2 more")])
def test_five_conflicts_are_named_and_the_others_counted(shared, more):
    with pytest.raises(DataError) as error:
        resolve_conflicts(table(cat=shared, dog=shared + "z"), "error")
    text = str(error.value)
    assert f"{len(shared)} photos" in text
    assert text.count(" = ") == 5 and "'cat/a.jpg' (cat) = 'dog/a.jpg' (dog)" in text
    assert (more in text) if more else ("more" not in text)
    assert "row " not in text


def test_conflicts_of_a_file_name_its_rows():
    with pytest.raises(DataError, match=r"row 1: 'cat/a\.jpg' \(cat\) = row 2: 'dog/a\.jpg'"):
        resolve_conflicts(table(cat="a", dog="a"), "error", rows=True)


def test_dropped_conflicts_leave_a_table_that_counts_from_0(caplog):
    with caplog.at_level(logging.WARNING, "pawprint.data"):
        left = resolve_conflicts(table(cat="abc", dog="bd"), "drop")
    assert left["image_uri"].tolist() == ["cat/a.jpg", "cat/c.jpg", "dog/d.jpg"]
    assert left.index.tolist() == [0, 1, 2]
    assert "2 files" in caplog.text
    assert resolve_conflicts(table(cat="ab", dog="b"), "keep").equals(table(cat="ab", dog="b"))


def test_a_photo_in_two_splits_is_warned_of_by_its_first_file(caplog):
    leaked = table(cat="abca").assign(split=["TRAIN", "TRAIN", "TEST", "TEST"])
    with caplog.at_level(logging.WARNING, "pawprint.data"):
        warn_of_leaks(leaked.assign(image_uri=["1.jpg", "2.jpg", "3.jpg", "4.jpg"]))
    assert "2 files" in caplog.text and "such as 1.jpg" in caplog.text
    caplog.clear()
    warn_of_leaks(leaked.iloc[:3])
    assert not caplog.text
