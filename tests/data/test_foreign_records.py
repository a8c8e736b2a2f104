"""`describe` on records without a manifest, as TFRecorder and other tools write them."""

import gzip
import io

import pytest

from data import DataError, describe
from data.conversion.transform_metadata import vocabulary_file
from data.record import records, tfrecord

JPEG = b"\xff\xd8\xff photo"


@pytest.fixture
def folder(tmp_path):
    """Writes records of one split, and a vocabulary where labels are given."""

    def write(split: str, *found: dict, labels: tuple[str, ...] = (), packed: bool = True) -> str:
        content = io.BytesIO()
        for features in found:
            tfrecord.write(content, records.serialize(features))
        name = f"{split}-00000-of-00001.tfrecord" + (".gz" if packed else "")
        written = gzip.compress(content.getvalue()) if packed else content.getvalue()
        (tmp_path / name).write_bytes(written)
        if labels:
            assets = tmp_path / "transform_fn" / "assets"
            assets.mkdir(parents=True, exist_ok=True)
            (assets / vocabulary_file(0)).write_text("".join(f"{label}\n" for label in labels))
        return str(tmp_path)

    return write


def test_features_of_all_records_and_the_encoding_are_found(folder):
    first = {"image": JPEG, "label": 1}
    found = describe(folder("train", first, {"image": JPEG, "label": 0, "camera": b"x"}))
    assert found.features == ("camera", "image", "label")
    assert found.encoding == "jpeg"
    assert found.patterns == {"train": "train-*.tfrecord.gz"}
    assert found.labels == ("0", "1") and found.counts == {"train": {"0": 1, "1": 1}}


def test_pixels_in_base64_are_raw_and_shards_may_be_unpacked(folder):
    found = describe(folder("train", {"image": b"/9j/4A==", "label": 0}, packed=False))
    assert found.encoding == "raw" and found.patterns == {"train": "train-*.tfrecord"}


def test_records_without_an_image_have_no_encoding(folder):
    assert describe(folder("train", {"label": 0})).encoding is None


def test_the_indices_of_a_vocabulary_are_its_own(folder):
    rows = [{"image": JPEG, "label": index} for index in (1, -1, 0, 1)]
    found = describe(folder("train", *rows, labels=("cat", "dog")))
    assert found.labels == ("cat", "dog")
    # -1 is TensorFlow Transform's index of a label that the vocabulary lacks; it comes last.
    assert list(found.counts["train"].items()) == [("cat", 1), ("dog", 2), ("-1", 1)]


@pytest.mark.parametrize("index", [2, -2])
def test_an_index_outside_the_vocabulary_is_named(folder, index):
    made = folder("train", {"image": JPEG, "label": index}, labels=("cat", "dog"))
    with pytest.raises(DataError, match=rf"train has label .*: {index}\n.*has 2 labels"):
        describe(made)


def test_a_label_of_another_type_is_named_with_its_record(folder):
    made = folder("train", {"image": JPEG, "label": 0}, {"image": JPEG, "label": b"dog"})
    with pytest.raises(DataError, match=r"train record 2 has the label b?'dog'[\s\S]*indices"):
        describe(made)


def test_a_split_with_compressed_and_plain_shards_is_refused(folder):
    folder("train", {"image": JPEG, "label": 0})
    with pytest.raises(DataError, match=r"shards of train end in \.gz[\s\S]*00001\.tfrecord\.gz"):
        describe(folder("train", {"image": JPEG, "label": 1}, packed=False))
