"""Compatibility with TFRecorder 2.0: records, folders, calls, and the code of the article."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import textwrap

import pandas as pd
import pytest

import data
from data import DataError
from tests.data import article
from tests.data.drawn import SHARED, image_table, read_all, shared
from tests.data.test_convert import convert, quiet, tree


@pytest.fixture(scope="module")
def expected():
    return json.loads(shared("tfrecorder-2.0", "expected.json").read_text())


@pytest.mark.parametrize("route", ["csv_route", "dir_route"])
@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_every_feature_is_tfrecorders(tmp_path, monkeypatch, expected, route, encoding):
    fixture = shared("tfrecorder-2.0")
    monkeypatch.chdir(fixture)  # the paths in its CSV are relative
    source = "data.csv" if route == "csv_route" else "images"
    convert(source, tmp_path / "out", encoding=encoding)
    vocabulary = "transform_fn/assets/vocab_compute_and_apply_vocabulary_vocabulary"
    assert (tmp_path / "out" / vocabulary).read_text().split() == expected[route]["vocab"]
    for file, rows in expected[route]["files"].items():
        found = read_all(tmp_path / "out", file.partition("-")[0])
        assert len(found) == len(rows)
        by_name = {features["image_name"].decode(): features for features in found}
        for row in rows:
            features = by_name[row["image_name"]]
            assert features["split"].decode() == row["split"]
            for name in ("label", "image_width", "image_height", "image_channels"):
                assert features[name] == row[name]
            image = features["image"]
            if encoding == "raw":
                assert hashlib.sha256(image).hexdigest() == row["image_sha256"]
                image = base64.urlsafe_b64decode(image)
            else:
                from data.record.photos import pixels

                image = pixels(features).tobytes()
            assert hashlib.sha256(image).hexdigest() == row["pixels_sha256"]


def test_the_csv_routes_records_come_in_tfrecorders_order(tmp_path, monkeypatch, expected):
    monkeypatch.chdir(shared("tfrecorder-2.0"))
    convert("data.csv", tmp_path / "out")
    for file, rows in expected["csv_route"]["files"].items():
        found = read_all(tmp_path / "out", file.partition("-")[0])
        names = [features["image_name"].decode() for features in found]
        assert sorted(names) == sorted(row["image_name"] for row in rows)


def test_the_folder_has_the_files_of_tfrecorders(tmp_path, monkeypatch, expected):
    monkeypatch.chdir(shared("tfrecorder-2.0"))
    convert("data.csv", tmp_path / "out")
    ours = set(tree(tmp_path / "out"))
    scratch = ("tft_tmp", "discarded-data", "transform_fn/variables")  # ours: discarded.csv
    theirs = {name for name in expected["csv_route"]["tree"] if not name.startswith(scratch)}
    assert theirs <= ours


def test_the_accessor_is_the_articles_call(tmp_path):
    image_table(tmp_path / "photos", {"TRAIN": 4, "TEST": 2}).to_csv(tmp_path / "data.csv")
    code = textwrap.dedent(
        """
        import sys, pandas as pd, data
        table = pd.read_csv(sys.argv[1])
        made = table.tensorflow.to_tfr(output_dir=sys.argv[2], tfrecorder_wheel="tfrecorder.whl")
        assert made["metrics"]["good_images"] == 6, made
        assert made["tfrecord_dir"].endswith("-to-tfr"), made
        """
    )
    command = [sys.executable, "-c", code, str(tmp_path / "data.csv"), str(tmp_path / "out")]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "tfrecorder_wheel is not needed" in ended.stderr


def test_the_articles_own_call_converts(tmp_path):
    call = article.conversion_call(shared("article"))
    image_table(tmp_path / "photos", {"TRAIN": 4, "TEST": 2}).to_csv(tmp_path / "data.csv")
    names = {
        "pd": pd,
        "FILENAME": str(tmp_path / "data.csv"),
        "TFRECORD_OUTPUT": str(tmp_path / "out"),
        "PROJECT": "my-project",
        "REGION": "europe-west4",
        "TFRECORDER_WHEEL": "tfrecorder.whl",
    }
    exec(call.replace("DataFlowRunner", "DirectRunner"), names)
    (folder,) = (tmp_path / "out").iterdir()
    assert data.describe(folder).counts["train"] == {"cat": 2, "dog": 2}


@pytest.fixture(scope="module")
def read_back(tmp_path_factory):
    """What TensorFlow reads from both encodings, in a separate process."""
    folder = tmp_path_factory.mktemp("read")
    table = image_table(folder / "photos", {"TRAIN": 6, "VALIDATION": 2})
    for encoding in ("raw", "jpeg"):
        data.convert(table, tfrecord_dir=folder / encoding, encoding=encoding, progress=quiet)
    columns = {
        "part": data.SplitKey,
        "n": data.IntegerInput,
        "x": data.FloatInput,
        "note": data.StringInput,
        "kind": data.StringLabel,
        "score": data.IntegerLabel,
        "colour": data.StringLabel,
    }
    rows = [("TRAIN", 1, 0.5, "a,b", "cat", 3, "red"), ("TRAIN", 2, 1.5, "ü", "dog", 4, "red")]
    data.convert(
        pd.DataFrame(rows, columns=[*columns]),
        tfrecord_dir=folder / "structured",
        schema=columns,
        progress=quiet,
    )
    if (SHARED / "images" / "odd").is_dir():
        photos = sorted((SHARED / "images" / "odd").iterdir())
        rows = [("TRAIN", str(path), "a") for path in photos]
        for encoding in ("raw", "jpeg"):
            data.convert(
                pd.DataFrame(rows, columns=["split", "image_uri", "label"]),
                tfrecord_dir=folder / f"odd-{encoding}",
                encoding=encoding,
                exif=False,
                progress=quiet,
            )
    if (SHARED / "article").is_dir():
        (folder / "article.py").write_text(article.reader(SHARED / "article"))
    script = os.path.join(os.path.dirname(__file__), "read_with_tensorflow.py")
    ended = subprocess.run(
        [sys.executable, script, str(folder), str(SHARED / "images" / "odd")],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_load_gives_every_split_and_feature(read_back, encoding):
    found = read_back[encoding]
    assert found["splits"] == {"TRAIN": 6, "VALIDATION": 2}
    assert {"image", "image_name", "label", "split"} <= set(found["features"])
    assert found["decoded_shape"] == [16, 24, 3]


def test_both_encodings_decode_to_the_same_pixels_in_tensorflow(read_back):
    assert read_back["raw"]["pixels_sha256"] == read_back["jpeg"]["pixels_sha256"]


def test_the_articles_functions_read_raw_records(read_back):
    assert read_back["article"]["shape"] == [5, 150, 150, 3]
    assert set(read_back["article"]["labels"]) <= {0, 1}


def test_the_articles_own_code_reads_raw_records(read_back):
    shared("article")
    assert read_back["own"]["shape"] == [5, 150, 150, 3]
    assert read_back["own"]["dtype"] == "uint8"


def test_tensorflow_decodes_odd_files_to_the_same_pixels(read_back):
    photos = sorted(shared("images", "odd").iterdir())
    found = read_back["odd"]
    assert set(found) == {path.name for path in photos}
    for name, photo in found.items():
        # Re-encoded photos lose a little; kept ones lose nothing.
        assert photo["difference"] == 0 if photo["kept"] else photo["difference"] < 3, name
    assert any(photo["kept"] for photo in found.values())


def test_tensorflow_transform_reads_schema_graph_and_vocabulary(read_back):
    found = read_back["transform"]
    assert found["vocabulary"] == ["dog", "cat"]
    assert found["labels_of_dog_cat_cow"] == [0, 1, -1]
    assert found["spec"] == read_back["raw"]["features"]


def test_structured_data_without_photos(read_back):
    first = read_back["structured"]["first"]
    assert first == {
        "part": "TRAIN",
        "n": 1,
        "x": 0.5,
        "note": "a,b",
        "kind": 1,
        "score": 3,
        "colour": 0,
    }
    assert read_back["structured"]["spec"] == sorted(first)


def test_inspect_writes_a_table_and_pictures(tmp_path):
    table = image_table(tmp_path / "photos", {"TRAIN": 4})
    for encoding, ending in (("raw", "png"), ("jpeg", "jpg")):
        convert(table, tmp_path / encoding, encoding=encoding)
        made = data.inspect(tmp_path / encoding, num_records=3, output_dir=tmp_path / "look")
        listed = pd.read_csv(os.path.join(made, "data.csv"))
        assert len(listed) == 3 and "image" not in listed
        assert sorted(os.listdir(made)) == sorted(["data.csv", *listed["picture"]])
        assert listed["picture"][0] == f"00000-TRAIN-000.{ending}"
    with pytest.raises(DataError, match="Unknown split: 'train'"):
        data.inspect(tmp_path / "raw", split="train")
    with pytest.raises(DataError, match="no TEST records"):
        data.inspect(tmp_path / "raw", split="TEST", output_dir=tmp_path / "look")


def test_inspect_and_check_read_the_real_tfrecorders_folder(tmp_path, expected):
    from data.inspection import check_records

    folder = shared("tfrecorder-2.0") / expected["csv_route"]["dir"]
    made = data.inspect(folder, num_records=100, output_dir=tmp_path)
    assert len(os.listdir(made)) == 21
    assert "train            20 records" in check_records(folder)
