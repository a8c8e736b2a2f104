"""Labels with few training photos are named before anything is trained."""

from pipeline.run.local_run import few_photos_warning


def test_labels_with_few_photos_are_named_the_fewest_first():
    counts = {"cat": 9, "dog": 200, "rabbit": 1}
    text = few_photos_warning(counts, ("cat", "dog", "hamster", "rabbit"))
    assert "(hamster 0, rabbit 1, cat 9)" in text and text.startswith("warning: ")
    assert "dog" not in text


def test_enough_photos_are_no_warning():
    assert few_photos_warning({"cat": 10, "dog": 10}, ("cat", "dog")) == ""
