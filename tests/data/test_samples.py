import pytest
from PIL import Image

from data import DataError
from data.sources import samples


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_equal_arguments_give_equal_pictures(tmp_path):
    one, two, other = (tmp_path / name for name in ("one", "two", "other"))
    assert samples.draw(one, count=8, size=48) == {"cat": 4, "dog": 4}
    samples.draw(two, count=8, size=48)
    samples.draw(other, count=8, size=48, seed=1)
    assert contents(one) == contents(two) != contents(other)
    assert Image.open(one / "cat" / "00000.jpg").format == "JPEG"


def test_classes_and_wrong_labels(tmp_path):
    drawn = samples.draw(tmp_path / "a", count=9, size=40, classes=("cat", "dog", "rabbit"))
    assert drawn == {"cat": 3, "dog": 3, "rabbit": 3}
    samples.draw(tmp_path / "right", count=10, size=40)
    samples.draw(tmp_path / "wrong", count=10, size=40, wrong_labels=1.0)
    right, wrong = contents(tmp_path / "right"), contents(tmp_path / "wrong")
    photos = [path for path in right if path.suffix == ".jpg"]
    for path in photos:  # the same pictures, each in the other folder
        other = {"cat": "dog", "dog": "cat"}[path.parts[0]]
        assert wrong[type(path)(other, path.name)] == right[path]


def test_if_absent_keeps_the_same_drawings(tmp_path):
    folder = tmp_path / "photos"
    drawn = samples.draw(folder, count=6, size=40, if_absent=True)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert samples.draw(folder, count=6, size=40, if_absent=True) == drawn
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_if_absent_refuses_other_and_incomplete_drawings(tmp_path):
    folder = tmp_path / "photos"
    samples.draw(folder, count=6, size=40)
    with pytest.raises(DataError, match="does not hold these drawings"):
        samples.draw(folder, count=8, size=40, if_absent=True)
    (folder / "cat" / "00000.jpg").unlink()
    with pytest.raises(DataError, match="does not hold these drawings"):
        samples.draw(folder, count=6, size=40, if_absent=True)


def test_an_interrupted_drawing_is_not_taken_for_whole(tmp_path, monkeypatch):
    folder = tmp_path / "photos"
    drawn = []

    def draw_three(*arguments):
        if len(drawn) == 3:
            raise KeyboardInterrupt
        drawn.append(arguments)
        return draw_face(*arguments)

    draw_face = samples.draw_face
    monkeypatch.setattr(samples, "draw_face", draw_three)
    with pytest.raises(KeyboardInterrupt):
        samples.draw(folder, count=6, size=40, if_absent=True)
    assert not folder.exists()
    monkeypatch.undo()
    samples.draw(folder, count=6, size=40, if_absent=True)
    assert len(list(folder.glob("*/*.jpg"))) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ("cat", "unicorn")}, "Unknown sample classes: 'unicorn'"),
        ({"classes": ("cat",)}, "at least two different classes"),
        ({"classes": ("cat", "cat")}, "at least two different classes"),
        ({"count": 1}, "at least one image per class"),
        ({"size": 8}, "size must be at least 32 pixels"),
        ({"wrong_labels": 1.5}, "wrong_labels must be a share"),
    ],
)
def test_invalid_arguments_are_refused(tmp_path, arguments, message):
    with pytest.raises(DataError, match=message):
        samples.draw(tmp_path / "photos", **arguments)
    assert not (tmp_path / "photos").exists()


def test_a_folder_that_is_not_empty_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(DataError, match="not empty"):
        samples.draw(tmp_path)
    assert (tmp_path / "mine.txt").exists()
