"""Round trip of any photo of any mode, with any name and label."""

import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import data
from data.record import records
from data.record.photos import pixels, to_grey_or_rgb
from data.sources.table import image_csv
from tests.data.drawn import encoded, picture, read_all

MODES = {
    "1": "PNG",
    "L": "PNG",
    "LA": "PNG",
    "I": "TIFF",
    "I;16": "PNG",
    "F": "TIFF",
    "P": "PNG",
    "RGB": "PNG",
    "RGBA": "PNG",
    "CMYK": "TIFF",
    "LAB": "TIFF",
    "PA": "TIFF",
    "RGBX": "TIFF",
    "YCbCr": "JPEG",
}

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
labels = text.filter(str.strip)
names = text.filter(lambda name: "/" not in name and name.strip() and name not in (".", ".."))
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
photos = st.tuples(st.sampled_from([*MODES]), sizes, names, labels, st.integers(0, 999))


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(
    rows=st.lists(photos, min_size=1, max_size=6),
    encoding=st.sampled_from(records.ENCODINGS),
    through_csv=st.booleans(),
)
def test_photos_names_and_labels_round_trip(rows, encoding, through_csv):
    with tempfile.TemporaryDirectory() as folder:
        expected, table = [], []
        for number, (mode, size, name, label, seed) in enumerate(rows):
            path = Path(folder, str(number), name)  # equal names in folders of their own
            path.parent.mkdir()
            path.write_bytes(encoded(picture(seed, size, mode), MODES[mode]))
            with Image.open(path) as image:
                image.load()
                expected.append((os.fsencode(name), np.asarray(to_grey_or_rgb(image))))
            table.append(("TRAIN", str(path), label))
        source = pd.DataFrame(table, columns=["split", "image_uri", "label"])
        if through_csv:
            Path(folder, "data.csv").write_bytes(image_csv(source))
            source = f"{folder}/data.csv"
        made = data.convert(
            source,
            tfrecord_dir=f"{folder}/out",
            encoding=encoding,
            workers=1,
            progress=lambda done, total: None,
        )
        assert made["metrics"]["bad_images"] == 0
        found = read_all(f"{folder}/out")
        vocabulary = data.describe(f"{folder}/out").labels
        assert len(found) == len(rows)
        for features, (name, plain), (_, _, label) in zip(found, expected, table, strict=True):
            assert features["image_name"] == name
            assert vocabulary[features["label"]] == label.strip()
            decoded = pixels(features)
            assert decoded.shape == (plain.shape if plain.ndim == 3 else (*plain.shape, 1))
            if encoding == records.RAW:
                np.testing.assert_array_equal(decoded, plain.reshape(decoded.shape))
