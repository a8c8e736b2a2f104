"""Features are those of the frozen network and are computed once per image."""

from __future__ import annotations

import itertools
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models import extraction, feature_store, phases
from models import input as examples
from models.options import TrainerOptions
from tests.models import tiny

TRAIN, EVAL = 40, 13
BOTH = (extraction.PHOTO, extraction.MIRRORED)
LIMIT = 1 << 20


@pytest.fixture(scope="module")
def network():
    return tiny.backbone()


@pytest.fixture(scope="module")
def extractor_of(network):
    """An extractor, and the numbers of photos that it was asked to compute."""

    def extractor_of(folder: Path | None = None, limit: int = LIMIT, backbone=network):
        made = extraction.FeatureExtractor(
            backbone,
            tf.distribute.get_strategy(),
            folder=str(folder) if folder else None,
            limit=limit,
        )
        compute, asked = made.compute, []

        def spy(images, view):
            asked.append(len(images))
            return compute(images, view)

        made.compute = spy
        return made, asked

    return extractor_of


def source_of(transformed, split: str) -> examples.ExampleFiles:
    return examples.ExampleFiles.of([f"{transformed.root}/{split}/*"], transformed.image_size, 2)


@pytest.fixture(scope="module")
def train(transformed) -> examples.ExampleFiles:
    return source_of(transformed, "train")


@pytest.fixture(scope="module")
def images(train) -> tuple[np.ndarray, np.ndarray]:
    """All photos and their labels, in order."""
    records = train.evaluation(examples.Shard()).batch(TRAIN)
    [(pixels, labels)] = [train.parse(batch) for batch in records]
    return pixels.numpy(), labels.numpy().argmax(1)


@pytest.fixture(scope="module")
def whole(extractor_of, train) -> examples.Features:
    made, asked = extractor_of()
    found = made.features(train, views=BOTH)
    assert asked == [TRAIN, TRAIN]
    return found


def test_features_are_the_networks_in_the_order_of_the_photos(whole, network, images):
    pixels, labels = images
    assert (whole.count, whole.values.shape) == (TRAIN, (TRAIN, 2, tiny.FEATURES))
    np.testing.assert_array_equal(whole.labels, labels)
    for column, photos in enumerate((pixels, pixels[:, :, ::-1])):
        expected = network(photos.astype(np.float32), training=False)
        np.testing.assert_allclose(whole.values[:, column], expected, rtol=2e-3, atol=1e-3)
    assert not np.array_equal(whole.values[:, 0], whole.values[:, 1])


def test_two_workers_compute_what_one_does(whole, extractor_of, train):
    for worker in (0, 1):
        part = extractor_of()[0].features(train, examples.Shard(worker, 2), BOTH)
        np.testing.assert_array_equal(part.values, whole.values[worker::2])
        np.testing.assert_array_equal(part.labels, whole.labels[worker::2])
        assert part.count == TRAIN, "that of all workers"


def test_a_worker_without_photos_has_features_of_none(extractor_of, train):
    part = extractor_of()[0].features(train, examples.Shard(40, 41), BOTH)
    assert part.values.shape == (0, 2, tiny.FEATURES)
    batches = examples.evaluation(part, 4, 1, examples.Shard(40, 41), cache="none").take(1)
    [(features, _, weights)] = batches
    assert features.shape == (4, tiny.FEATURES) and not weights.numpy().any()


def test_cached_features_equal_computed_ones_and_are_not_computed_again(
    whole, extractor_of, train, transformed, tmp_path, caplog
):
    first, _ = extractor_of(tmp_path)
    np.testing.assert_array_equal(first.features(train, views=BOTH).values, whole.values)
    again, asked = extractor_of(tmp_path, backbone=tiny.backbone())
    np.testing.assert_array_equal(again.features(train, views=BOTH).values, whole.values)
    assert not any(asked) and again.computed == 0
    with caplog.at_level(logging.INFO, "pawprint"):
        again.features(source_of(transformed, "eval"), views=BOTH)
    assert sum(asked) == 2 * EVAL
    assert " cached, " not in caplog.text
    folders = list(tmp_path.iterdir())
    assert len(folders) == 2, "a folder a view"
    for folder in folders:
        assert all(path.suffix == ".npz" for path in folder.iterdir())


def test_only_new_images_are_computed(whole, extractor_of, train, tmp_path, caplog):
    half = extractor_of(tmp_path)[0]
    half.features(train, examples.Shard(0, 2))
    other, asked = extractor_of(tmp_path)
    with caplog.at_level(logging.INFO, "pawprint"):
        found = other.features(train, name="training")
    assert sum(asked) == TRAIN / 2
    assert "features of training photos: 20 cached, 20 computed" in caplog.text
    np.testing.assert_array_equal(found.values, whole.values[:, :1])


def test_another_network_has_features_of_its_own(extractor_of, train, tmp_path):
    extractor_of(tmp_path)[0].features(train)
    other = tiny.backbone()
    weights = other.get_weights()
    other.set_weights([weights[0] + 1e-3, *weights[1:]])
    made, asked = extractor_of(tmp_path, backbone=other)
    made.features(train)
    assert sum(asked) == TRAIN


def test_damaged_and_removed_files_are_computed_again(whole, extractor_of, train, tmp_path, caplog):
    for damage in (b"", b"PK\x03\x04 half a file", None, "truncated"):
        extractor_of(tmp_path)[0].features(train)
        for path in tmp_path.rglob("*.npz"):
            content = path.read_bytes()
            if damage is None:
                path.unlink()
            else:
                path.write_bytes(content[:-40] if damage == "truncated" else damage)
        made, asked = extractor_of(tmp_path)
        caplog.clear()
        with caplog.at_level(logging.WARNING, "pawprint"):
            found = made.features(train)
        assert sum(asked) == TRAIN
        assert ("are computed again" in caplog.text) == (damage is not None)
        np.testing.assert_array_equal(found.values, whole.values[:, :1])
        for path in tmp_path.rglob("*.npz"):
            path.unlink()


def test_a_folder_that_cannot_be_written_only_warns(whole, extractor_of, train, tmp_path, caplog):
    (tmp_path / "file").write_text("")
    made, asked = extractor_of(tmp_path / "file" / "below")
    with caplog.at_level(logging.WARNING, "pawprint"):
        found = made.features(train)
    assert sum(asked) == TRAIN
    assert "cannot write features to" in caplog.text
    np.testing.assert_array_equal(found.values, whole.values[:, :1])


def test_time_of_a_photo_is_measured_without_the_tracing(extractor_of, train, tmp_path):
    made, asked = extractor_of(tmp_path)
    made.features(train)  # A batch of tracing, and one that counts.
    counted = made.seconds_per_image(train)
    assert 0 < counted < 1 and asked == [TRAIN]
    kept, asked = extractor_of(tmp_path)
    kept.features(train)
    assert not any(asked)
    assert 0 < kept.seconds_per_image(train) < 1, "measured where all was kept"
    assert sum(asked) == 2 * 32


def store_of(folder: Path, limit: int, network: str = "a") -> feature_store.FeatureStore:
    return feature_store.FeatureStore(str(folder), network, limit)


def test_the_oldest_files_are_removed_beyond_the_limit(tmp_path):
    rows = np.arange(64, dtype=np.float16)
    for number in range(4):
        keys = feature_store.digests([bytes([number])])
        store_of(tmp_path, LIMIT, network="ab"[number % 2]).add({keys[0]: rows + number})
        for path in tmp_path.rglob("*.npz"):  # Each is a second older than the next.
            stat = path.stat()
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - 10**9))
    [size] = {path.stat().st_size for path in tmp_path.rglob("*.npz")}
    [key] = feature_store.digests([b"new"])
    store_of(tmp_path, 3 * size).add({key: rows})
    first, second = store_of(tmp_path, LIMIT).load(), store_of(tmp_path, LIMIT, "b").load()
    assert first.keys() == {*feature_store.digests([bytes([2])]), key}
    assert second.keys() == set(feature_store.digests([bytes([3])]))
    store_of(tmp_path, 0).add({key: rows})
    assert not list(tmp_path.rglob("*.npz"))


def test_without_a_folder_nothing_is_cached(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = feature_store.FeatureStore(None, "a", LIMIT)
    store.add({b"0" * 16: np.zeros(4, np.float16)})
    assert store.load() == {} and not list(tmp_path.iterdir())


def test_a_file_damaged_anywhere_is_no_error(tmp_path, caplog):
    store = store_of(tmp_path, LIMIT)
    store.add({key: np.ones(4, np.float16) for key in feature_store.digests([b"1", b"2"])})
    [path] = tmp_path.rglob("*.npz")
    content = path.read_bytes()
    for position, bit in itertools.product(range(0, len(content), 3), (1, 0x80)):
        damaged = bytearray(content)
        damaged[position] ^= bit
        path.write_bytes(bytes(damaged))
        assert all(row.shape == (4,) for row in store.load().values())
    assert "are computed again" in caplog.text


def mirrored(count: int) -> examples.Features:
    """Features whose first view is 0 and whose second is 1."""
    values = np.stack([np.zeros([count, 3]), np.ones([count, 3])], axis=1).astype(np.float16)
    return examples.Features(values, np.arange(count) % 2, count, 2)


def test_training_draws_a_view_and_validation_takes_the_photo_itself():
    features = mirrored(64)
    batches = examples.training(features, 64, examples.Shard(), seed=1, cache="none").take(2)
    views = [values.numpy()[:, 0] for values, _ in batches]
    for values in views:
        assert 10 < values.sum() < 54, "both views"
    assert not np.array_equal(*views)
    [(values, labels, weights)] = examples.evaluation(
        features, 64, 1, examples.Shard(), cache="none"
    ).take(1)
    assert values.dtype == tf.float32 and not values.numpy().any()
    np.testing.assert_array_equal(labels.numpy().argmax(1), features.labels)
    np.testing.assert_array_equal(weights, 1)


@pytest.mark.parametrize(
    ("settings", "seconds", "epochs", "said"),
    [
        ({"preset": "fast"}, 0.01, 0, None),
        ({"preset": "best"}, 10.0, 3, "fine-tuning for 3 epochs of 100 photos, about 9315 s"),
        ({"preset": "balanced"}, 0.01, 3, "fine-tuning for 3 epochs of 100 photos, about 24 s"),
        (
            {"preset": "balanced", "fine_tuning_seconds": 24},
            0.01,
            2,
            "fine-tuning for 2 epochs of 100 photos, about 21 s",
        ),
        (
            {"preset": "balanced"},
            1.0,
            0,
            "no fine-tuning: an epoch of 100 photos takes about 325 s, trainer.fine_tuning_seconds "
            "allows 300",
        ),
        ({"preset": "balanced", "fine_tuning_seconds": 1}, 0.01, 0, "allows 1"),
        ({"preset": "fast", "fine_tuning_epochs": 7}, 1.0, 7, None),
        ({"preset": "best", "fine_tuning_epochs": 0}, 1.0, 0, None),
    ],
)
def test_preset_time_and_epochs_decide_about_fine_tuning(caplog, settings, seconds, epochs, said):
    options = TrainerOptions(**settings)
    with caplog.at_level(logging.INFO, "pawprint"):
        found = phases.fine_tuning_epochs(options, tiny.FINE_TUNING, 100, 10, seconds)
    assert found == epochs
    assert (said in caplog.text) if said else not caplog.records


@pytest.mark.parametrize(("gpus", "preset"), [(0, "fast"), (1, "best")])
def test_the_preset_of_a_machine_is_that_of_its_devices(monkeypatch, gpus, preset):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [object()] * gpus)
    assert phases.resolve_preset(TrainerOptions()) == preset
    assert phases.resolve_preset(TrainerOptions(preset="balanced")) == "balanced"
