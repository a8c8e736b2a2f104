"""Compatibility with the calls of TFRecorder 2.0: results, files, types of errors."""

import base64
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import data
from tests.data.drawn import encoded, image_table, photo_folder, picture, read_all
from tests.data.test_convert import quiet

NAMES = ["split", "image_uri", "label"]
PHOTO = {"image", "image_height", "image_width", "image_channels", "image_name"}
FEATURES = PHOTO | {"label", "split"}
SPLITS = {"TRAIN": 4, "VALIDATION": 2, "TEST": 2}
ALL_GOOD = {"rows": 8, "good_images": 8, "bad_images": 0}


def convert(source, folder, **options):
    """One worker: to start one takes longer than these few photos."""
    return data.convert(source, tfrecord_dir=folder, workers=1, progress=quiet, **options)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return image_table(tmp_path_factory.mktemp("photos"), SPLITS)


@pytest.fixture(scope="module")
def made(tmp_path_factory, table):
    """A converted folder that tests only read."""
    folder = tmp_path_factory.mktemp("made") / "out"
    convert(table, folder)
    return folder


@pytest.fixture
def copied(tmp_path, made):
    """A copy without manifest, as TFRecorder writes it, for tests that change it."""
    shutil.copytree(made, tmp_path / "copied")
    return without_manifest(tmp_path / "copied")


def written(table, folder, header=True):
    table.to_csv(folder / "data.csv", index=False, header=header)
    return str(folder / "data.csv")


def shard_names(folder, split="*"):
    return sorted(path.name for path in Path(folder).glob(f"{split}-*.tfrecord*"))


def without_manifest(folder):
    (folder / "manifest.json").unlink()
    return folder


def counts(datasets):
    return {split: sum(1 for _ in dataset) for split, dataset in datasets.items()}


# Schemas and types


def test_a_schema_knows_its_split_photo_and_label_columns():
    schema = data.IMAGE_CSV_SCHEMA
    assert (schema.split_key, schema.image_uri_key, schema.label_key) == tuple(NAMES)


def test_a_schema_without_a_split_column_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"(?i)split.?key"):
        data.Schema({"image_uri": data.ImageUri, "label": data.StringLabel})


def test_the_keys_of_a_schema_are_those_of_its_map():
    schema = data.IMAGE_CSV_SCHEMA
    assert list(schema.get_input_keys()) == NAMES
    assert schema.get_input_keys() == schema.input_schema_map.keys()


def test_the_map_of_a_schema_makes_an_equal_schema():
    columns = {"part": data.SplitKey, "x": data.FloatInput, "y": data.IntegerLabel}
    schema = data.Schema(columns)
    assert dict(schema.input_schema_map) == columns
    assert data.Schema(schema.input_schema_map).input_schema_map == schema.input_schema_map


def test_the_split_type_lists_its_values():
    assert list(data.SplitKey.allowed_values) == ["TRAIN", "VALIDATION", "TEST", "DISCARD"]


# Loading


def test_load_takes_a_folder_with_both_parts_of_the_transform(copied):
    assert {"transform_fn", "transformed_metadata"} <= {path.name for path in copied.iterdir()}
    assert counts(data.load(str(copied))) == SPLITS


@pytest.mark.parametrize("there", [[], ["transformed_metadata"], ["transform_fn"]], ids="-".join)
def test_load_of_a_folder_with_only_the_transform_is_an_error(tmp_path, there):
    for name in there:
        (tmp_path / name).mkdir()
    with pytest.raises(FileNotFoundError):
        data.load(tmp_path)


def test_load_does_not_need_the_transform(copied):
    shutil.rmtree(copied / "transformed_metadata")
    shutil.rmtree(copied / "transform_fn")
    assert counts(data.load(copied)) == SPLITS


def test_load_of_a_folder_without_records_is_a_file_not_found_error(copied):
    for name in shard_names(copied):
        (copied / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"(?i)no .*(records|files)"):
        data.load(copied)


@pytest.mark.parametrize("kind", ["nowhere", "a file"])
def test_load_of_an_invalid_path_is_a_value_error(tmp_path, kind):
    (tmp_path / "a file").touch()
    with pytest.raises(ValueError, match=kind):
        data.load(tmp_path / kind)


def test_load_gives_each_split_under_its_name(made):
    datasets = data.load(made)
    assert list(datasets) == ["TRAIN", "VALIDATION", "TEST"]
    assert counts(datasets) == SPLITS
    assert all(set(dataset.element_spec) == FEATURES for dataset in datasets.values())


def test_load_keeps_a_split_that_lost_all_its_photos_as_an_empty_one(tmp_path, table):
    gone = table["image_uri"].where(table["split"] != "VALIDATION", "gone.jpg")
    convert(table.assign(image_uri=gone), tmp_path / "out")
    datasets = data.load(tmp_path / "out")
    assert counts(datasets) == SPLITS | {"VALIDATION": 0}
    assert set(datasets["VALIDATION"].element_spec) == FEATURES
    assert counts(data.load(without_manifest(tmp_path / "out"))) == SPLITS | {"VALIDATION": 0}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (data.StringInput, [b"a", b"b"]),
        (data.FloatInput, [0.5, -1.5]),
        (data.IntegerLabel, [7, -7]),
    ],
    ids=["text", "float", "int"],
)
def test_a_column_called_label_may_hold_anything(tmp_path, kind, values):
    cells = [value.decode() if isinstance(value, bytes) else value for value in values]
    folder = tmp_path / "out"
    frame = pd.DataFrame({"split": "TRAIN", "label": cells})
    convert(frame, folder, schema={"split": data.SplitKey, "label": kind})
    for step in (Path, without_manifest):
        folder = step(folder)
        rows = data.load(folder)["TRAIN"].as_numpy_iterator()
        assert [row["label"] for row in rows] == values
        looked = data.inspect(folder, num_records=2, output_dir=tmp_path / "look")
        assert pd.read_csv(f"{looked}/data.csv")["label"].tolist() == cells


def test_load_reads_several_uncompressed_shards(tmp_path, table):
    convert(table, tmp_path / "out", compression=None, num_shards=2)
    names = [f"train-0000{number}-of-00002.tfrecord" for number in (0, 1)]
    assert shard_names(tmp_path / "out", "train") == names
    assert counts(data.load(tmp_path / "out")) == SPLITS
    assert counts(data.load(without_manifest(tmp_path / "out"))) == SPLITS


# Converting: results and what is written


def test_convert_on_this_machine_returns_job_metrics_and_folder(tmp_path, table):
    before = table.copy()
    cloud = {"project": "foo", "region": "us-central1", "tfrecorder_wheel": None}  # not needed
    made = data.convert(table, str(tmp_path), runner="DirectRunner", progress=quiet, **cloud)
    assert set(made) == {"job_id", "metrics", "tfrecord_dir"}
    assert made["job_id"] == "DirectRunner" and made["metrics"] == ALL_GOOD
    assert re.fullmatch(r"tfrecorder-\d{8}-\d{6}-convert", Path(made["tfrecord_dir"]).name)
    pd.testing.assert_frame_equal(table, before)


def test_the_accessor_takes_tfrecorders_arguments_in_its_order(tmp_path, table):
    schema = data.Schema(dict(zip(NAMES, data.IMAGE_CSV_SCHEMA.values(), strict=True)))
    arguments = [schema, "DirectRunner", None, None, None, {}, "my_label", None, 1]
    made = table.tensorflow.to_tfr(str(tmp_path), *arguments, progress=quiet)
    assert made["metrics"] == ALL_GOOD and made["tfrecord_dir"].endswith("-my-label")
    assert shard_names(made["tfrecord_dir"], "test") == ["test-00000-of-00001.tfrecord"]


def test_a_table_with_only_train_is_converted_and_loaded(tmp_path, table):
    convert(table[table["split"] == "TRAIN"], tmp_path / "out", num_shards=2)
    assert shard_names(tmp_path / "out") == [f"train-0000{n}-of-00002.tfrecord.gz" for n in (0, 1)]
    assert (tmp_path / "out" / "transform_fn").is_dir()
    assert (tmp_path / "out" / "transformed_metadata").is_dir()
    assert counts(data.load(tmp_path / "out")) == {"TRAIN": 4}


def test_true_for_compression_is_gzip(tmp_path, table):
    convert(table[:2], tmp_path / "out", compression=True)
    assert shard_names(tmp_path / "out") == ["train-00000-of-00001.tfrecord.gz"]


def test_whole_number_labels_stay_and_text_labels_are_counted(tmp_path):
    columns = {"split": data.SplitKey, "grade": data.IntegerLabel, "label": data.StringLabel}
    rows = [("TRAIN", 9, "cat"), ("TRAIN", -2, "dog"), ("TRAIN", 9, "dog"), ("TEST", 4, "cat")]
    convert(pd.DataFrame(rows, columns=[*columns]), tmp_path / "out", schema=columns)
    train, test = (read_all(tmp_path / "out", split) for split in ("train", "test"))
    assert [(row["grade"], row["label"]) for row in train] == [(9, 1), (-2, 0), (9, 0)]
    assert [(row["grade"], row["label"]) for row in test] == [(4, 1)]


@pytest.mark.parametrize("source", ["table", "folder"])
def test_one_single_label_is_enough(tmp_path, table, source):
    if source == "folder":
        photo_folder(tmp_path / "photos" / "TRAIN", {"cat": 2})
        table = str(tmp_path / "photos")
    convert(table if source == "folder" else table.assign(label="cat"), tmp_path / "out")
    assert {features["label"] for features in read_all(tmp_path / "out")} == {0}


def test_a_photo_becomes_its_pixels_in_base64_and_comes_back_as_a_picture(tmp_path):
    photos = {"a.png": picture(1, mode="L"), "b.png": picture(2)}
    for name, photo in photos.items():
        (tmp_path / name).write_bytes(encoded(photo, "PNG"))
    rows = [("TRAIN", str(tmp_path / name), "cat") for name in photos]
    convert(pd.DataFrame(rows, columns=NAMES), tmp_path / "out")
    looked = Path(data.inspect(tmp_path / "out", num_records=2, output_dir=tmp_path / "look"))
    found = zip(
        read_all(tmp_path / "out"), photos.values(), sorted(looked.glob("*.png")), strict=True
    )
    for features, photo, shown in found:
        assert set(features) == FEATURES
        assert base64.b64decode(features["image"], altchars=b"-_") == photo.tobytes()
        assert features["image_channels"] == len(photo.mode)
        assert (features["image_width"], features["image_height"]) == photo.size
        with Image.open(shown) as opened:
            assert opened.mode == photo.mode
            np.testing.assert_array_equal(np.asarray(opened), np.asarray(photo))


def test_convert_and_load_gives_the_datasets(tmp_path, table):
    datasets = data.convert_and_load(source=table, output_dir=str(tmp_path), progress=quiet)
    assert counts(datasets) == SPLITS


# Sources: tables, CSV files, folders


def test_a_table_that_pandas_made_by_pivoting_or_selecting(tmp_path, table):
    odd = table.rename_axis(columns="about").set_axis([5] * 8)
    assert convert(odd, tmp_path / "out")["metrics"] == ALL_GOOD


def test_names_choose_the_columns_of_a_table(tmp_path, table):
    wide = table.assign(who="me")
    assert convert(wide, tmp_path / "out", names=NAMES)["metrics"] == ALL_GOOD
    with pytest.raises(AttributeError, match="label"):
        convert(wide, tmp_path / "no", names=("split", "image_uri", "who"))


def test_names_that_a_table_lacks_are_a_key_error(tmp_path, table):
    with pytest.raises(KeyError, match="kind"):
        convert(table, tmp_path / "out", names=["split", "image_uri", "kind"])


@pytest.mark.parametrize("names", [None, NAMES], ids=["default", "names"])
def test_a_csv_without_a_header(tmp_path, table, names):
    path = written(table, tmp_path, header=False)
    pd.testing.assert_frame_equal(data.read_csv(path, header=None, names=names), table)


@pytest.mark.parametrize("header", ["infer", 0, [0]], ids=str)
def test_a_csv_with_a_header(tmp_path, table, header):
    path = written(table, tmp_path)
    pd.testing.assert_frame_equal(data.read_csv(path, header=header), table)


def test_a_csv_with_a_header_that_names_replace(tmp_path, table):
    path = written(table.set_axis(["a", "b", "c"], axis="columns"), tmp_path)
    assert convert(path, tmp_path / "out", header=0, names=NAMES)["metrics"] == ALL_GOOD


def test_a_folder_of_split_folders(tmp_path):
    for number, split in enumerate(SPLITS):
        photo_folder(tmp_path / "photos" / split, {"cat": 2, "dog": 1}, seed=number)
    made = convert(str(tmp_path / "photos"), tmp_path / "out")
    assert made["metrics"] == {"rows": 9, "good_images": 9, "bad_images": 0}
    for split in SPLITS:
        found = read_all(tmp_path / "out", split.lower())
        names = [(row["split"].decode(), row["image_name"], row["label"]) for row in found]
        cats = [(split, b"000.jpg", 0), (split, b"001.jpg", 0)]
        assert sorted(names) == sorted([*cats, (split, b"000.jpg", 1)])


@pytest.mark.parametrize("source", [0, "not_a_csv_file", [], {}], ids=repr)
def test_an_unsupported_source_is_a_value_error(tmp_path, source):
    with pytest.raises(ValueError, match=r"Cannot convert a|No such file"):
        convert(source, tmp_path / "out")


# Wrong input: the kind of error


@pytest.mark.parametrize("column", NAMES)
@pytest.mark.parametrize("source", ["table", "csv", "accessor"])
def test_a_column_that_is_missing_is_an_attribute_error(tmp_path, table, column, source):
    table = table.drop(columns=column)
    with pytest.raises(AttributeError, match=rf"column:? '?{column}[\s\S]*split.*image_uri.*label"):
        if source == "accessor":
            table.tensorflow.to_tfr(output_dir=str(tmp_path / "out"))
        else:
            convert(table if source == "table" else written(table, tmp_path), tmp_path / "out")


def test_rows_without_train_are_an_attribute_error(tmp_path, table):
    with pytest.raises(AttributeError, match="TRAIN"):
        convert(table[table["split"] == "TEST"], tmp_path / "out")


def test_an_unknown_runner_is_an_attribute_error(tmp_path, table):
    with pytest.raises(AttributeError, match="FooRunner"):
        convert(table, tmp_path / "out", runner="FooRunner")


@pytest.mark.parametrize("given", [{"region": "us-central1"}, {"project": "p-123456"}, {}], ids=str)
def test_dataflow_without_project_or_region_is_an_attribute_error(table, given):
    table = table.assign(image_uri="gs://bucket/a.jpg")
    missing = [name for name in ("project", "region") if name not in given]
    with pytest.raises(AttributeError, match=r"[\s\S]*".join(missing)):
        data.convert(table, "gs://bucket/out", runner="DataflowRunner", **given)


@pytest.mark.parametrize("column", ["label", "image_uri", "n", "x"])
@pytest.mark.parametrize("missing", [None, np.nan, pd.NA], ids=repr)
def test_a_missing_value_is_a_value_error_that_names_its_row(tmp_path, table, column, missing):
    kinds = {**data.IMAGE_CSV_SCHEMA, "n": data.IntegerInput, "x": data.FloatInput}
    table = table.assign(n=1, x=0.5).astype({column: object})
    table.loc[1, column] = missing
    with pytest.raises(ValueError, match=rf"column '{column}'[\s\S]*row 2"):
        convert(table, tmp_path / "out", schema=kinds)


def test_a_missing_split_discards_its_row(tmp_path, table):
    table = table.assign(split=[None, np.nan, pd.NA, "TRAIN", *table["split"][4:]])
    convert(table, tmp_path / "out")
    assert len(read_all(tmp_path / "out")) == 1


# Inspecting


@pytest.fixture(scope="module")
def looked(made, tmp_path_factory):
    """The output of `inspect` for four records."""
    folder = str(tmp_path_factory.mktemp("look"))
    return Path(data.inspect(str(made), split="TRAIN", num_records=4, output_dir=folder))


def test_inspect_lists_the_records(looked, table):
    listed = pd.read_csv(looked / "data.csv")
    assert listed["image_name"].tolist() == [Path(uri).name for uri in table["image_uri"][:4]]
    assert listed["label"].tolist() == [1, 0, 1, 0]
    assert set(listed["split"]) == {"TRAIN"} and set(listed["image_width"]) == {24}


def test_inspect_lists_the_features_but_the_pixels_and_names_the_picture(looked):
    expected = [*sorted(FEATURES - {"image"}), "picture"]
    assert list(pd.read_csv(looked / "data.csv")) == expected


def test_inspect_names_the_pictures_as_their_photos_with_a_number(looked, table):
    pictures = sorted(path.name for path in looked.glob("*.png"))
    stems = [Path(uri).stem for uri in table["image_uri"][:4]]
    assert pictures == [f"{number:05d}-{stem}.png" for number, stem in enumerate(stems)]


def test_inspect_names_its_folder_as_tfrecorder_does(looked):
    assert re.fullmatch(r"check-tfrecords-\d{8}-\d{6}", looked.name)


@pytest.mark.parametrize("split", ["UNSUPPORTED", "train", "DISCARD"])
def test_inspect_of_a_split_that_is_not_there_is_a_value_error(made, tmp_path, split):
    with pytest.raises(ValueError, match=split):
        data.inspect(made, split=split, output_dir=tmp_path / "look")
    assert not (tmp_path / "look").exists()
