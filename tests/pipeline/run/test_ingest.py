import shutil

import pandas as pd
import pytest

import data
from data.errors import DataError
from data.sources import samples
from pipeline.config.files import load_config
from pipeline.run.ingest import DataSource, ingest
from tests.conftest import shared


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ingest") / "photos"
    samples.draw(folder, count=40, size=32, classes=("cat", "dog", "rabbit"))
    return folder


@pytest.fixture
def config(tmp_path):
    (tmp_path / "root").mkdir()
    return load_config(None, [f"root={tmp_path / 'root'}"])


def quiet(done, total):
    pass


def test_photos_become_records(drawn, config):
    result = ingest(DataSource("images", str(drawn)), config, quiet)
    records = result.records
    assert set(records.labels) == {"cat", "dog", "rabbit"}
    assert list(records.counts) == ["train", "validation", "test"]
    assert sum(sum(labels.values()) for labels in records.counts.values()) == 40
    assert "image_encoding" in records.features
    assert not result.cached and result.discarded == []
    assert len(records.digest) == 64


def test_the_same_photos_are_converted_once_wherever_they_lie(drawn, config, tmp_path):
    first = ingest(DataSource("images", str(drawn)), config, quiet)
    copy = shutil.copytree(drawn, tmp_path / "elsewhere")
    second = ingest(DataSource("images", str(copy)), config, quiet)
    assert second.cached and second.records == first.records
    (copy / "cat").joinpath("new.jpg").write_bytes(next((drawn / "dog").iterdir()).read_bytes())
    with pytest.raises(DataError, match="under two labels"):
        ingest(DataSource("images", str(copy)), config, quiet)


def test_a_csv_gives_the_records_of_its_rows(drawn, config, tmp_path):
    rows = ["label,split,image_uri"]
    for label in ("cat", "dog"):
        for number, path in enumerate(sorted((drawn / label).iterdir())[:6]):
            rows.append(f"{label},{('TRAIN', 'VALIDATION')[number % 2]},{path}")
    file = tmp_path / "photos.csv"
    file.write_text("\n".join(rows))
    records = ingest(DataSource("csv", str(file)), config, quiet).records
    assert records.counts == {
        "train": {"cat": 3, "dog": 3},
        "validation": {"cat": 3, "dog": 3},
    }


def test_another_column_of_a_csv_can_be_the_label(drawn, config, tmp_path):
    table = data.scan(drawn).rename(columns={"label": "animal"})
    table["label"] = "of no use"
    table.to_csv(tmp_path / "photos.csv", index=False)
    source = DataSource("csv", str(tmp_path / "photos.csv"))

    def labelled_by(column, *further):
        return load_config(None, [f"root={config.root}", f"data.label_column={column}", *further])

    records = ingest(source, labelled_by("animal"), quiet).records
    assert set(records.labels) == {"cat", "dog", "rabbit"} and "label" in records.features
    assert records.counts == ingest(DataSource("images", str(drawn)), config, quiet).records.counts

    for wrong, settings, message in (
        (source, ["species"], "lacks column 'species'"),
        (source, ["split"], "has another use"),
        (source, ["animal", "gate.slice_by=[animal]"], "has another use"),
        (DataSource("images", str(drawn)), ["animal"], "is for an Image CSV"),
    ):
        with pytest.raises(DataError, match=message):
            ingest(wrong, labelled_by(*settings), quiet)


def test_a_full_disk_is_found_before_the_work(drawn, config, monkeypatch):
    usage = shutil.disk_usage(config.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    with pytest.raises(DataError, match="Not enough disk space") as error:
        ingest(DataSource("images", str(drawn)), config, quiet)
    assert "1 MB free" in str(error.value)


def test_real_tfrecorder_output_is_taken_as_it_is(config):
    folder = next(shared("tfrecorder-2.0", "out_csv").iterdir())
    records = ingest(DataSource("tfrecords", str(folder)), config, quiet).records
    assert records.labels == ("dog", "cat")
    assert records.counts["test"] == {"dog": 1, "cat": 1}
    assert records.patterns["train"].startswith("train-")


def test_photos_in_a_bucket_that_changed_in_place_are_other_photos(drawn, tmp_path, monkeypatch):
    from data.storage import gs
    from tests.standins.accounts import TokenStandIn
    from tests.standins.storage import StorageStandIn

    photos = sorted(path for label in ("cat", "dog") for path in (drawn / label).iterdir())
    rows = ["label,split,image_uri"]
    with StorageStandIn("bucket") as storage, TokenStandIn() as tokens:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.url)
        key = tokens.write_key(tmp_path / "key.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
        gs._client.cache_clear()
        for number, path in enumerate(photos):
            uri = f"gs://bucket/{path.parent.name}/{path.name}"
            storage.put(uri, path.read_bytes())
            rows.append(f"{path.parent.name},{('TRAIN', 'VALIDATION')[number % 2]},{uri}")
        file = tmp_path / "photos.csv"
        file.write_text("\n".join(rows))
        config = load_config(None, [f"root={tmp_path}"])
        source = DataSource("csv", str(file))
        first = ingest(source, config, quiet)
        assert ingest(source, config, quiet).cached
        storage.put(uri, photos[0].read_bytes())
        again = ingest(source, config, quiet)
        gs._client.cache_clear()
    assert not again.cached
    assert again.records.digest != first.records.digest


def test_slices_that_the_records_do_not_have_are_refused(config):
    folder = shared("cases", "records-image-and-label-only")
    sliced = config.model_copy(
        update={"gate": config.gate.model_copy(update={"slice_by": ("label", "image_size")})}
    )
    with pytest.raises(DataError, match=r"(?s)slices by image_size.*Set gate.slice_by=.label."):
        ingest(DataSource("tfrecords", str(folder)), sliced, quiet)
    alone = config.model_copy(
        update={"gate": config.gate.model_copy(update={"slice_by": ("label",)})}
    )
    assert ingest(DataSource("tfrecords", str(folder)), alone, quiet).records.features == (
        "image",
        "label",
    )


def test_records_whose_labels_are_text_are_refused(tmp_path, config, drawn):
    table = data.scan(drawn).assign(split=["TRAIN", "VALIDATION"] * (len(data.scan(drawn)) // 2))
    schema = {**data.IMAGE_CSV_SCHEMA, "label": data.StringInput}
    data.convert(table, tfrecord_dir=tmp_path / "out", schema=schema, progress=quiet)
    for _ in ("with a manifest", "without one"):
        with pytest.raises(DataError, match="has labels that are not integers"):
            ingest(DataSource("tfrecords", str(tmp_path / "out")), config, quiet)
        (tmp_path / "out" / "manifest.json").unlink(missing_ok=True)


def test_records_without_photos_or_labels_are_refused(tmp_path, config):
    table = pd.DataFrame({"split": ["TRAIN", "VALIDATION"], "size": [1, 2]})
    schema = {"split": data.SplitKey, "size": data.IntegerInput}
    data.convert(table, tfrecord_dir=tmp_path / "out", schema=schema, progress=quiet)
    with pytest.raises(DataError, match="has no feature image and no label in its records"):
        ingest(DataSource("tfrecords", str(tmp_path / "out")), config, quiet)
