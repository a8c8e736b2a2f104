"""Folders in Cloud Storage: naming, reservation, resuming, and protection of other files."""

import threading

import pandas as pd
import pytest
from google.auth.exceptions import RefreshError, TransportError
from google.resumable_media import DataCorruption
from urllib3.exceptions import ProtocolError

import data
from data import DataError
from data.inspection import check_records
from data.storage import files, gs
from tests.data.drawn import encoded, photo_folder, picture
from tests.data.stored import remote_table, remote_tree, upload
from tests.data.test_convert import quiet


def hopeless(address, storage):
    """A table with only broken TRAIN photos, whose conversion cannot succeed."""
    storage.put(f"{address}/photos/broken.jpg", b"no photo")
    rows = [("TRAIN", f"{address}/photos/broken.jpg", "cat")]
    return pd.DataFrame(rows, columns=["split", "image_uri", "label"])


@pytest.mark.parametrize("runner", ["DirectRunner", "FnApiRunner"])
@pytest.mark.parametrize("end", ["", "/", "//"])
def test_a_folder_that_is_not_empty_is_refused(bucket, runner, end):
    address, storage = bucket
    table = hopeless(address, storage)
    storage.put(f"{address}/out/mine/notes.txt", b"mine")
    with pytest.raises(DataError, match="exists already, with something else"):
        data.convert(table, tfrecord_dir=f"{address}/out{end}", runner=runner, progress=quiet)
    assert storage.names(f"{address}/out") == ["/mine/notes.txt"]


@pytest.mark.parametrize("target", ["gs://bucket", "gs://bucket/", "gs://", "gs:///x", "gs:/b/x"])
def test_a_whole_bucket_is_refused_as_a_target(bucket, target):
    address, storage = bucket
    storage.put(f"{address}/mine.txt", b"mine")
    with pytest.raises(DataError, match=r"Cannot (create|reach)"):
        data.convert(hopeless(address, storage), tfrecord_dir=target, progress=quiet)
    assert "/mine.txt" in storage.names(address)


@pytest.mark.parametrize("runner", ["DirectRunner", "FnApiRunner"])
def test_a_failed_conversion_deletes_what_it_wrote_and_nothing_else(bucket, runner):
    address, storage = bucket
    table = hopeless(address, storage)
    photo = photo_of(storage, address)
    table.loc[1] = ["TEST", photo, "cat"]  # its shard is written
    for name in ("out-2/a.txt", "out.txt", "b.txt"):
        storage.put(f"{address}/{name}", b"mine")
    before = storage.names(address)
    claim, mine = gs.upload, f"{address}/out/late.txt"

    def upload_beside(path, uri, **options):
        storage.put(mine, b"mine")  # written by another program during the conversion
        return claim(path, uri, **options)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(DataError, match="No records for"):
        patch.setattr(gs, "upload", upload_beside)
        data.convert(table, tfrecord_dir=f"{address}/out", runner=runner, progress=quiet)
    assert storage.names(address) == sorted([*before, "/out/late.txt"])


def photo_of(storage, address):
    storage.put(f"{address}/photos/good.jpg", encoded(picture(1)))
    return f"{address}/photos/good.jpg"


def test_slashes_at_the_end_mean_nothing(tmp_path, bucket):
    address, storage = bucket
    upload(storage, photo_folder(tmp_path / "photos", {"cat": 4, "dog": 4}), f"{address}/photos")
    quick = {"runner": "FnApiRunner"}  # starts no processes
    made = data.convert(f"{address}/photos/", tfrecord_dir=f"{address}/out/", **quick)
    folder = f"{address}/out"
    assert made["tfrecord_dir"] == folder and data.describe(f"{folder}/").tfrecord_dir == folder
    assert "complete: raw images" in check_records(f"{folder}/")
    data.inspect(f"{folder}/", output_dir=f"{tmp_path}/look/")
    local = data.convert(f"{tmp_path}/photos/", tfrecord_dir=f"{tmp_path}/out/", progress=quiet)
    assert data.describe(f"{local['tfrecord_dir']}/").counts == data.describe(folder).counts


def test_a_whole_bucket_is_a_folder_of_photos(tmp_path, bucket):
    _, storage = bucket
    storage.buckets["photos"] = {}
    upload(storage, photo_folder(tmp_path / "photos", {"cat": 4, "dog": 4}), "gs://photos")
    for source in ("gs://photos", "gs://photos/"):
        assert data.scan(source)["image_uri"].str.startswith("gs://photos/").all()
    made = data.convert("gs://photos", "gs://photos/", runner="FnApiRunner")
    assert made["tfrecord_dir"].startswith("gs://photos/tfrecorder-")
    with pytest.raises(DataError, match="No such file or folder: gs://nobodys"):
        data.convert("gs://nobodys", tmp_path, progress=quiet)
    with pytest.raises(DataError, match="No such folder: gs://nobodys/photos"):
        data.scan("gs://nobodys/photos")


def test_photos_that_were_replaced_are_converted_anew(tmp_path, bucket):
    address, storage = bucket
    upload(storage, photo_folder(tmp_path / "photos", {"cat": 4, "dog": 4}), f"{address}/photos")
    options = {"tfrecord_dir": tmp_path / "out", "resume": True, "runner": "FnApiRunner"}
    first = data.convert(f"{address}/photos", **options)
    assert data.convert(f"{address}/photos", **options) == first
    storage.put(f"{address}/photos/cat/000.jpg", encoded(picture(77)))
    with pytest.raises(DataError, match="records of other rows, photos or options"):
        data.convert(f"{address}/photos", **options)


def test_exists_in_the_store(bucket):
    address, storage = bucket
    storage.put(f"{address}/folder/file", b"x")
    storage.put(f"{address}/made-in-the-console/", b"")
    for name in ("folder", "folder/", "folder/file", "made-in-the-console"):
        assert files.exists(f"{address}/{name}"), name
    for name in ("fold", "folder/fi", "made"):
        assert not files.exists(f"{address}/{name}"), name
    assert files.exists("gs://bucket") and not files.exists("gs://another")


@pytest.mark.parametrize("runner", ["DirectRunner", "FnApiRunner"])
def test_resume_finds_the_unfinished_folder_by_itself(tmp_path, bucket, runner):
    address, storage = bucket
    there, _ = remote_table(tmp_path, bucket, {"TRAIN": 40})
    options = {"num_shards": 4, "encoding": "jpeg", "progress": quiet, "runner": runner}
    options["workers"] = 1
    storage.fail(lambda r: r.method == "POST" and b"convert/train-00002" in r.body, 403, times=9)
    with pytest.raises((DataError, RuntimeError, OSError), match="told to fail"):
        data.convert(there, f"{address}/out", **options)
    storage.recover()
    storage.requests.clear()
    made = data.convert(there, f"{address}/out/", resume=True, **options)
    (manifest,) = [n for n in storage.names(f"{address}/out") if n.endswith("/manifest.json")]
    assert made["tfrecord_dir"] == f"{address}/out{manifest.removesuffix('/manifest.json')}"
    sent = [r.body[:300] for r in storage.requests if r.method == "POST"]
    assert not any(b'convert/train-00000-of-00004.tfrecord"' in body for body in sent)
    assert not [n for n in remote_tree(storage, made["tfrecord_dir"]) if n.startswith(".work")]


@pytest.mark.parametrize("runner", ["DirectRunner", "FnApiRunner"])
def test_two_conversions_in_the_same_second_do_not_collide(tmp_path, bucket, monkeypatch, runner):
    address, _ = bucket
    there, _ = remote_table(tmp_path, bucket, {"TRAIN": 4})
    monkeypatch.setattr("data.conversion.convert.folder_name", lambda label: "tfrecorder-now")
    made = []

    def work():
        result = data.convert(there, f"{address}/out", runner=runner, progress=quiet)
        made.append(result["tfrecord_dir"])

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [f"{address}/out/tfrecorder-now", f"{address}/out/tfrecorder-now-1"]
    assert all(data.describe(folder).counts["train"] for folder in made)


def test_an_upload_that_fails_once_is_sent_again(bucket):
    address, storage = bucket
    storage.fail(lambda r: r.method == "POST" and b"again" in r.body, 503, times=1)
    storage.fail(lambda r: r.method == "DELETE", 503, times=1)
    files.write(f"{address}/again", b"x")
    files.delete_folder(address)
    files.delete(f"{address}/again")  # deleted already
    assert not storage.names(address)


def test_a_photo_that_the_store_refuses_is_not_discarded(tmp_path, bucket):
    _, storage = bucket
    there, _ = remote_table(tmp_path, bucket, {"TRAIN": 4})
    storage.fail(lambda r: r.path.endswith("TRAIN-002.jpg"), 403, times=1)
    options = {"tfrecord_dir": tmp_path / "out", "progress": quiet, "resume": True, "workers": 1}
    with pytest.raises(DataError, match=r"could not be finished\n.*TRAIN-002.jpg: 403[^$]*resume"):
        data.convert(there, **options)
    assert data.convert(there, **options)["metrics"]["good_images"] == 4


@pytest.mark.parametrize(
    "error",
    [
        RefreshError("the login has expired"),
        TransportError("no token service"),
        DataCorruption(None, "the checksum differs"),
        ProtocolError("the connection broke"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_of_the_client_is_one_of_files(error):
    with pytest.raises(OSError, match="gs://b/x: "), gs._as_os_error("gs://b/x"):
        raise error


def test_errors_of_later_reads_are_those_of_files_too(bucket, monkeypatch):
    address, storage = bucket
    monkeypatch.setattr(gs, "_CHUNK", 1 << 14)
    storage.put(f"{address}/long", bytes(range(256)) * 1024)
    with files.open_read(f"{address}/long") as stream:
        assert stream.read(1000) == (bytes(range(256)) * 4)[:1000]
        storage.fail(lambda r: r.query.get("alt") == "media", 403)
        with pytest.raises(OSError, match="told to fail"):
            stream.read()
    storage.recover()
