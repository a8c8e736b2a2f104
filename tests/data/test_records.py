import gzip
import struct
import subprocess
import sys

import pytest

from data import DataError
from data.record import records, tfrecord

FEATURES = {
    "image": b"\xff\xd8\xff\x00",
    "image_height": 3,
    "label": -1,
    "weight": 0.5,
    "split": b"TRAIN",
}


def test_features_come_back():
    assert records.parse(records.serialize(FEATURES)) == FEATURES


def test_equal_features_are_equal_bytes_in_any_order():
    backwards = dict(reversed(FEATURES.items()))
    assert records.serialize(backwards) == records.serialize(FEATURES)


def test_a_value_of_an_unsupported_type_is_refused():
    with pytest.raises(TypeError, match="label=None"):
        records.serialize({"label": None})


def test_tensorflow_reads_the_same_example():
    code = (
        "import sys, tensorflow as tf\n"
        "from data.record import records\n"
        "record = records.serialize({'image': b'\\xff\\xd8', 'label': -1, 'weight': 0.5})\n"
        "example = tf.train.Example.FromString(record)\n"
        "feature = example.features.feature\n"
        "assert feature['image'].bytes_list.value[:] == [b'\\xff\\xd8']\n"
        "assert feature['label'].int64_list.value[:] == [-1]\n"
        "assert feature['weight'].float_list.value[:] == [0.5]\n"
        "assert records.parse(example.SerializeToString()) == records.parse(record)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_importing_data_stays_light():
    code = (
        "import sys, data\n"
        "data.scan, data.convert, data.describe, data.read_csv\n"
        "heavy = {'tensorflow', 'tfx', 'apache_beam', 'tensorflow_transform'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_record_longer_than_any_photo_is_refused_before_it_is_read(tmp_path):
    length = struct.pack("<Q", tfrecord.MAX_RECORD + 1)
    header = length + struct.pack("<I", tfrecord._masked_crc(length))
    (tmp_path / "a.tfrecord.gz").write_bytes(gzip.compress(header))
    with pytest.raises(DataError, match="record 1 has 536,870,913 bytes"):
        next(tfrecord.read(str(tmp_path / "a.tfrecord.gz")))
