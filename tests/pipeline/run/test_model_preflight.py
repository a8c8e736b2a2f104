"""Arguments and weights of a model that are refused before a run starts."""

import json
import os
import subprocess
import sys
import time

import pytest

from pipeline.config.files import ConfigError, load_config
from pipeline.run import model_preflight
from tests.conftest import REPOSITORY, run_local

FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
IMAGENET = "model={name: pretrained, arguments: {weights: imagenet}}"
CLOSED = "http://127.0.0.1:9"


def refused(*overrides, remote_training=False) -> str:
    with pytest.raises(ConfigError) as error:
        model_preflight.preflight(load_config(None, overrides), remote_training)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "argument", "text"),
    [
        (
            "efficientnet_lite0",
            "no_such: 1",
            "efficientnet_lite0 does not take 'no_such'; it takes first_block",
        ),
        ("pretrained", "fine_tune: true", "'fine_tune'; it takes backbone, weights, fine_tuned"),
        ("pawnet", "num_classes: 3", "does not take 'num_classes'; it takes filters"),
        ("article_cnn", "dropout: 0.5", "article_cnn does not take 'dropout'; it takes none"),
        ("pretrained", "backbone: MobileNet9", "Received: 'MobileNet9'. Known: EfficientNetV2B0"),
        ("pretrained", "weights: 5", "expected a path, imagenet or null. Received: 5"),
        ("pretrained", "weights: /nowhere/x.h5", "weights: file not found: /nowhere/x.h5"),
    ],
)
def test_arguments_are_checked(name, argument, text):
    assert text in refused(f"model.name={name}", f"model.arguments={{{argument}}}")


def test_names_are_checked_without_tensorflow():
    script = (
        "import sys, runner_local\n"
        "status = runner_local.main(sys.argv[1:])\n"
        "sys.exit('imported' if 'tensorflow' in sys.modules else status)"
    )
    command = [sys.executable, "-c", script, "--images", "x", "--set=model.arguments={no_such: 1}"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: model.arguments: efficientnet_lite0 does not take 'no_such'; ")


def test_valid_arguments_pass(tmp_path):
    model_preflight.preflight(load_config(None, []))
    model_preflight.preflight(load_config(None, ["model.name=pretrained"]), remote_training=True)
    weights = tmp_path / "weights.h5"
    weights.write_text("any")
    chosen = f"model={{name: pretrained, arguments: {{weights: {weights}}}}}"
    model_preflight.preflight(load_config(None, [chosen]))
    assert "is a local file and the training is remote" in refused(chosen, remote_training=True)


def test_imagenet_without_a_network_fails_within_seconds(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, CLOSED)
    for name in ("no_proxy", "NO_PROXY", "KERAS_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    began = time.monotonic()
    run = run_local("--images", "x", f"--set={IMAGENET}", root=tmp_path / "root")
    assert time.monotonic() - began < 30
    assert run.status == 2, run.output + run.errors
    (line,) = run.errors.splitlines()
    assert line.startswith("error: model.arguments.weights: imagenet: ") and run.output == ""
    assert f"{tmp_path}/.keras/models/{FILE} is missing and cannot be downloaded" in line
    assert "Download https://" in line
    assert f"{FILE} to the folder {tmp_path}/.keras/models" in line
    assert not (tmp_path / "root").exists(), "nothing was started"


def test_runner_dataflow_refuses_before_it_asks_the_cloud(tmp_path):
    weights = tmp_path / "weights.h5"
    weights.write_text("any")
    for arguments, text in (
        ("{no_such: 1}", "pretrained does not take 'no_such'"),
        (json.dumps({"weights": str(weights)}), "is a local file and the training is remote"),
    ):
        command = [sys.executable, "runner_dataflow.py", "plan", "--set=model.name=pretrained"]
        command.append(f"--set=model.arguments={arguments}")
        done = subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, text=True, env={**os.environ}
        )
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: model.arguments") and text in done.stderr


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("model.name=pawnet", "pawnet has no pretrained network"),
        ("gate.cross_validate=false", "gate.cross_validate is false"),
    ],
)
def test_a_bound_on_what_is_not_measured_is_refused(setting, reason):
    bounds = "[{metric: accuracy, min: 0.5}, {metric: cross_validated_accuracy, min: 0.9}]"
    assert reason in refused(f"gate.bounds={bounds}", setting)
