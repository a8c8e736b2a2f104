import os

import pytest

from data.errors import DataError
from data.record import records, tfrecord
from pipeline.predict.photo_folder import convert_folder, list_folder
from tests.pipeline.serve.conftest import photo


def nothing(done, total):
    pass


def test_photos_at_any_depth_become_records_with_their_row(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more" / ".hidden").mkdir(parents=True)
    (folder / "a, b.jpg").write_bytes(photo("black"))
    (folder / "more" / "c.png").write_bytes(photo("white", "PNG"))
    (folder / "more" / "letter.jpg").write_text("dear model")
    (folder / "more" / ".hidden" / "d.jpg").write_bytes(photo())
    paths = list_folder(str(folder))
    assert [path.removeprefix(f"{folder}/") for path in paths] == [
        "a, b.jpg",
        "more/c.png",
        "more/letter.jpg",
    ]
    made = convert_folder(paths, str(tmp_path / "root"), nothing)
    assert made.count == 2 and not made.cached
    assert [row["path"] for row in made.discarded] == [paths[2]]
    (shard,) = (tmp_path / "root" / "records").glob("*/train-*")
    rows = [records.parse(record) for record in tfrecord.read(str(shard))]
    assert sorted(row["row"] for row in rows) == [0, 1] and "label" not in rows[0]

    assert convert_folder(paths, str(tmp_path / "root"), nothing).cached
    (folder / "a, b.jpg").write_bytes(photo("red", size=(50, 50)))
    assert not convert_folder(paths, str(tmp_path / "root"), nothing).cached, "a photo changed"


def test_a_folder_without_photos(tmp_path):
    with pytest.raises(DataError, match="No such folder"):
        list_folder(str(tmp_path / "none"))
    with pytest.raises(DataError, match="No photos in"):
        list_folder(str(tmp_path))
    (tmp_path / "letter.jpg").write_text("dear model")
    with pytest.raises(DataError, match="None of the 1 files can be read") as refused:
        convert_folder(list_folder(str(tmp_path)), str(tmp_path / "root"), nothing)
    assert refused.value.discarded[0]["reason"] == "not an image"
    assert "letter.jpg: not an image" in str(refused.value)


def test_broken_photos_and_links_with_any_name_are_listed(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "good.jpg").write_bytes(photo("black"))
    (folder / os.fsdecode(b"caf\x82.jpg")).write_text("dear model")
    (folder / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    paths = list_folder(str(folder))
    made = convert_folder(paths, str(tmp_path / "root"), nothing)
    assert made.count == 1
    assert {os.fsencode(row["path"]).rpartition(b"/")[2] for row in made.discarded} == {
        b"caf\x82.jpg",
        b"gone.jpg",
    }
    assert convert_folder(paths, str(tmp_path / "root"), nothing).discarded == made.discarded
