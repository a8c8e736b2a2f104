"""Networks of keras.applications: from nothing, with weights from a file and with Keras' own."""

from __future__ import annotations

import inspect
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tf_keras

from models import extraction
from models.architectures import pretrained
from models.backbones import published
from models.transfer import Pretrained
from tests.conftest import REPOSITORY
from tests.models.test_trainer import fn_args

SIZE = 48
CLOSED = "http://127.0.0.1:9"


def keras_network(backbone: str = "MobileNetV2", **arguments) -> tf_keras.Model:
    arguments = {"weights": None, "input_shape": [SIZE, SIZE, 3], **arguments}
    return getattr(tf_keras.applications, backbone)(include_top=False, **arguments)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Weights that no other initialisation would draw."""
    tf_keras.utils.set_random_seed(7)
    path = tmp_path_factory.mktemp("weights") / "network.h5"
    keras_network().save_weights(path)
    return path


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Keras' cache, empty, on a machine without a network."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, CLOSED)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    # urllib keeps the proxies of its first request for all others of the process.
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".keras" / "models"
    folder.mkdir(parents=True)
    return folder


def as_published(backbone: str, path: Path, monkeypatch) -> tuple[tf_keras.Model, dict]:
    """The network as Keras builds it around its published weights, which are drawn here.

    Returns:
        The network, and what Keras asked to be downloaded.
    """
    from tf_keras.src.utils import data_utils

    asked = {}

    def get_file(name, url, **options):
        asked.update(options, name=name, url=url)
        return path

    with monkeypatch.context() as patch:
        patch.setattr(data_utils, "get_file", get_file)
        patch.setattr(tf_keras.Model, "load_weights", lambda *args, **kwargs: None)
        # At the size of the published files. MobileNetV2 has one for each size.
        network = keras_network(
            backbone, weights="imagenet", input_shape=[224, 224, 3], pooling="avg"
        )
    network.save_weights(path)
    return network, asked


BACKBONES = [
    name if name == "MobileNetV2" else pytest.param(name, marks=pytest.mark.slow)
    for name in pretrained.BACKBONES
]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_network_with_its_weights_is_the_one_of_keras(backbone, tmp_path, monkeypatch):
    theirs, asked = as_published(backbone, tmp_path / "weights.h5", monkeypatch)
    ours = pretrained.BACKBONES[backbone]
    assert (ours.name, ours.url, ours.digest) == (
        asked["name"],
        asked["url"],
        asked.get("file_hash"),
    )
    assert asked["cache_subdir"] == "models"
    model = pretrained.build(224, 3, backbone=backbone, weights=str(tmp_path / "weights.h5"))
    images = np.random.default_rng(0).integers(0, 256, [2, 224, 224, 3]).astype(np.float32)
    scale = inspect.getmodule(getattr(tf_keras.applications, backbone)).preprocess_input
    expected = theirs(scale(images.copy()), training=False).numpy()
    found = model.backbone(images, training=False).numpy()
    spread = np.std(expected)  # Drawn weights leave next to nothing of a signal.
    np.testing.assert_allclose(found / spread, expected / spread, atol=1e-2)
    np.testing.assert_allclose(model(images).numpy().sum(axis=1), 1, atol=1e-5)


def test_the_head_learns_and_then_the_upper_layers_too(weights):
    model = pretrained.build(SIZE, 2, weights=str(weights))
    assert isinstance(model, Pretrained)
    assert len(model.trainable_variables) == 2, "only the classifier learns"
    model.unfreeze()
    learning = {variable.name.partition("/")[0] for variable in model.trainable_variables}
    assert {"Conv_1", "block_10_expand"} <= learning
    assert not learning & {"Conv1", "Conv_1_bn", "block_10_expand_BN", "block_2_expand"}
    all_of_it = pretrained.build(SIZE, 2, weights=str(weights), fine_tuned=1.0)
    all_of_it.unfreeze()
    assert "Conv1" in {variable.name.partition("/")[0] for variable in all_of_it.trainable_weights}
    with pytest.raises(ValueError, match=r"fine_tuned: expected a share, 0 to 1\. Received: 6"):
        pretrained.build(SIZE, 2, weights=str(weights), fine_tuned=6)


def test_fine_tuning_leaves_batch_statistics_as_they_are(weights):
    model = pretrained.build(SIZE, 2, weights=str(weights))
    model.unfreeze()
    # Drawn weights leave next to nothing of a signal, and so of a gradient.
    adam = tf_keras.optimizers.Adam(epsilon=1e-18)
    model.compile(adam, "categorical_crossentropy")

    def statistics():
        return [w.numpy() for w in model.backbone.weights if "moving_" in w.name]

    before, kernel = statistics(), model.backbone.get_layer("Conv_1").get_weights()[0]
    images = np.random.default_rng(1).integers(0, 256, [8, SIZE, SIZE, 3]).astype(np.float32)
    # The head may begin with zeros, from which nothing comes down to the network.
    model.fit(images, np.eye(2)[[0, 0, 0, 1] * 2], batch_size=4, epochs=3, verbose=0)
    for old, new in zip(before, statistics(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert np.isfinite(model(images)).all()
    assert not np.array_equal(model.backbone.get_layer("Conv_1").get_weights()[0], kernel)


@pytest.mark.parametrize("backbone", ["MobileNetV2", "MobileNetV3Small"])
def test_a_network_has_the_same_fingerprint_whatever_was_built_before(backbone, tmp_path):
    path = tmp_path / "weights.h5"
    keras_network(backbone).save_weights(path)
    first, second = (
        extraction.fingerprint(
            pretrained.build(SIZE, classes, backbone=backbone, weights=str(path)).backbone
        )
        for classes in (2, 3)
    )
    assert first == second


def test_from_scratch_every_layer_is_trained():
    assert pretrained.find_weights(weights=None) is None
    model = pretrained.build(SIZE, 3)
    assert not isinstance(model, Pretrained)
    assert len(model.trainable_variables) > 100
    assert model(np.zeros([1, SIZE, SIZE, 3], np.float32)).shape == (1, 3)


def test_a_file_is_identified_by_its_digest(weights):
    found = pretrained.find_weights(weights=str(weights), dropout=0.1)
    assert found.path == str(weights) and found.name == "network.h5"
    assert found.sha256 == published.file_digest(str(weights)) and len(found.sha256) == 64
    assert found.trained_on == "unknown" and "path" not in found.description()


def test_a_file_may_be_on_another_file_system(weights):
    import tensorflow as tf

    tf.io.gfile.copy(str(weights), "ram://weights/no_suffix", overwrite=True)
    found = pretrained.find_weights(weights="ram://weights/no_suffix")
    assert found.sha256 == published.file_digest(str(weights))
    with pytest.raises(ValueError, match="weights: file not found: ram://weights/none"):
        pretrained.find_weights(weights="ram://weights/none")
    here = pretrained.build(SIZE, 2, weights=str(weights)).backbone.get_weights()
    there = pretrained.build(SIZE, 2, weights=found.path).backbone.get_weights()
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)


def test_wrong_weights_and_names_are_errors(weights, tmp_path):
    for call in (pretrained.find_weights, lambda **given: pretrained.build(SIZE, 2, **given)):
        with pytest.raises(ValueError, match=r"weights: file not found: /nowhere/x\.h5"):
            call(weights="/nowhere/x.h5")
        with pytest.raises(ValueError, match=r"Received: 'MobileNet9'\. Known: EfficientNetV2B0"):
            call(backbone="MobileNet9")
    other = tmp_path / "text.h5"
    other.write_text("no weights")
    with pytest.raises(ValueError, match=r"text\.h5 does not hold the weights of MobileNetV2"):
        pretrained.build(SIZE, 2, weights=str(other))
    with pytest.raises(ValueError, match="does not hold the weights of ResNet50V2"):
        pretrained.build(SIZE, 2, backbone="ResNet50V2", weights=str(weights))


def test_imagenet_comes_from_the_cache_of_keras(cache):
    file = cache / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    theirs = keras_network(input_shape=[224, 224, 3])
    theirs.save_weights(file)
    asked = keras_network(weights="imagenet", input_shape=[224, 224, 3])
    np.testing.assert_array_equal(asked.get_weights()[0], theirs.get_weights()[0])
    found = pretrained.find_weights(weights="imagenet")
    assert found.path == str(file) and found.name == file.name
    assert found.sha256 == published.file_digest(str(file))
    assert found.source.startswith("keras.applications (https://")
    assert "ImageNet" in found.trained_on and "keras.io/api/applications" in found.licence
    ours = pretrained.build(SIZE, 2, weights="imagenet").backbone.get_weights()
    for one, other in zip(ours, theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_are_found_without_tensorflow(cache, weights):
    file = cache / pretrained.BACKBONES["MobileNetV2"].name
    file.write_bytes(weights.read_bytes())
    script = (
        "import sys; from models.architectures import pretrained\n"
        "for weights in ('imagenet', sys.argv[1]): pretrained.find_weights(weights=weights)\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, weights], cwd=REPOSITORY, check=True)


def test_without_a_network_the_error_names_the_file_and_its_folder(cache):
    file = cache / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    for call in (pretrained.find_weights, lambda **given: pretrained.build(SIZE, 2, **given)):
        with pytest.raises(ValueError, match="is missing and cannot be downloaded") as error:
            call(weights="imagenet")
        for part in (file.name, str(cache), f"{published._URL}/mobilenet_v2/{file.name}"):
            assert part in str(error.value)
    file.write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    with pytest.raises(ValueError, match="is incomplete or altered and cannot be downloaded"):
        pretrained.find_weights(weights="imagenet")
    assert file.exists(), "it is the user's to remove"
    # Keras knows the content of most files; a drawn network cannot have it.
    other = cache / pretrained.BACKBONES["ResNet50V2"].name
    other.write_bytes(b"")
    with pytest.raises(ValueError, match="is incomplete or altered"):
        pretrained.find_weights(backbone="ResNet50V2", weights="imagenet")


def test_a_server_that_does_not_answer_is_an_error_within_seconds(cache, monkeypatch):
    monkeypatch.setattr(published, "_TIMEOUT_SECONDS", 1.0)
    before = socket.getdefaulttimeout()
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(ValueError, match="cannot be downloaded"):
            pretrained.find_weights(weights="imagenet")
        assert time.monotonic() - began < 5
    assert socket.getdefaulttimeout() == before


def test_a_download_fills_the_cache_of_keras(cache, weights, monkeypatch):
    """Through Keras' own download, from a server of this test."""
    import functools
    import http.server

    folder = weights.parent
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(published, "_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(urllib.request, "_opener", None)
        found = published.PublishedWeights("network.h5").find()
        assert found == str(cache / "network.h5")
        assert Path(found).read_bytes() == weights.read_bytes()
        with pytest.raises(ValueError, match=r"other\.h5 is missing .*404"):
            published.PublishedWeights("other.h5").find()
        with pytest.raises(ValueError, match="cannot be downloaded"):
            published.PublishedWeights("network.h5", "0" * 32).find()
        server.shutdown()


@pytest.mark.slow
def test_the_trainer_leaves_the_network_as_it_was(weights, transformed, tmp_path):
    from models import trainer

    model = {"name": "pretrained", "weights": str(weights)}
    options = {"epochs": 1, "batch_size": 8, "preset": "fast"}
    provenance = {"weights_digest": "of-the-file"}
    args = fn_args(transformed, tmp_path, model=model, trainer=options, provenance=provenance)
    trainer.run_fn(args)
    card = json.loads((tmp_path / "model" / "model_card.json").read_text())
    assert card["provenance"]["weights_digest"] == "of-the-file"
    assert card["provenance"]["settings"]["model"]["weights"] == str(weights)
    assert (tmp_path / "model" / "Format-Serving" / "saved_model.pb").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("with_weights", [True, False])
def test_the_trainer_trains_it(weights, with_weights, transformed, tmp_path):
    from models import trainer

    model = {"name": "pretrained", "weights": str(weights) if with_weights else None}
    options = {"epochs": 2, "fine_tuning_epochs": 1, "batch_size": 8}
    trainer.run_fn(fn_args(transformed, tmp_path, model=model, trainer=options))
    history = json.loads((tmp_path / "model_run" / "history.json").read_text())["epochs"]
    assert len(history) == (3 if with_weights else 2)
