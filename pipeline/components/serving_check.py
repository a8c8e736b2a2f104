"""Gate 2 as a component: tests the exported model in a process that has TensorFlow only.

It replaces TFX's InfraValidator on machines without Docker and writes the same artifact.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx import v1 as tfx
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from models import golden_predictions
from pipeline.artifacts import saved_model
from pipeline.artifacts.digests import file_digest, settings_digest
from pipeline.artifacts.label_file import FILE, read_labels
from pipeline.artifacts.names import VERDICT_FILE
from pipeline.components import tfserving
from pipeline.config.schema import RunConfig

FORMAT_VERSION = 1
_PROBE = Path(__file__).with_name("serving_probe.py")
_BLESSED, _NOT_BLESSED = "INFRA_BLESSED", "INFRA_NOT_BLESSED"
# The environment of a model server: no project on the path and no credentials.
_KEPT_VARIABLES = ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR")
_SET_VARIABLES = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "CUDA_VISIBLE_DEVICES": "-1",
    # TensorFlow imports Keras; tf_keras loads 0.7 s faster than Keras 3.
    "TF_USE_LEGACY_KERAS": "1",
}


def create(model: tfx.dsl.Channel, examples: tfx.dsl.Channel, config: RunConfig) -> BaseComponent:
    """Creates this component or, as `serving.validator` says, TFX's InfraValidator.

    Args:
        model: channel of the exported model.
        examples: channel of the raw examples.
        config: all settings.
    """
    if config.serving.validator == "tfserving":
        return tfserving.create(model, examples, config)
    settings = {
        **config.serving.model_dump(mode="json"),
        "labels": config.records.labels,
        "image_size": config.model.image_size,
        "code": settings_digest([file_digest(path) for path in (_PROBE, Path(__file__))]),
        "refusals": 0 if config.cloud else _refusals(config.root),
    }
    return ServingCheck(
        model=model, examples=examples, split=config.records.held_out, settings=json.dumps(settings)
    )


def probe(
    model: str, records: list[bytes], settings: dict[str, Any], reference: str = ""
) -> list[dict[str, Any]]:
    """Runs `serving_probe.py` on a SavedModel in a separate process.

    Args:
        model: local folder of the SavedModel.
        records: serialized raw examples, at least one.
        settings: `labels`, `image_size` and the fields of `ServingConfig`.
        reference: local path of the trained model's predictions, see `models.golden_predictions`;
            empty if there are none.

    Returns:
        {"name", "passed", "value", "bound"} of each check. A process that exits with an error or
        times out gives one failed check.
    """
    with tempfile.TemporaryDirectory() as folder:
        names = ("records", "settings.json", "result.json")
        records_path, settings_path, result_path = (os.path.join(folder, name) for name in names)
        with tf.io.TFRecordWriter(records_path) as writer:
            for record in records:
                writer.write(record)
        Path(settings_path).write_text(json.dumps(settings))
        arguments = [model, records_path, reference, settings_path, result_path]
        environment = {k: os.environ[k] for k in _KEPT_VARIABLES if k in os.environ}
        try:
            process = subprocess.run(
                [sys.executable, "-I", str(_PROBE), *arguments],
                env=environment | _SET_VARIABLES,
                timeout=settings["timeout_s"],
                capture_output=True,
                text=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return [_failed("answers in time", "no answer", f"{settings['timeout_s']:g} s")]
        if process.returncode:
            output = process.stderr[-2000:] or f"exit status {process.returncode}"
            return [_failed("process stays alive", output, "exit status 0")]
        checks = json.loads(Path(result_path).read_text())["checks"]
        return [_check_labels(model, settings), *checks]


def _check_labels(model: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Checks that the label names in the model are those of the examples, in the same order."""
    labels = read_labels(Path(model))
    passed = labels == list(settings["labels"])
    name = f"carries the label names in {FILE}"
    return {"name": name, "passed": passed, "value": labels, "bound": settings["labels"]}


def _failed(name: str, value: str, bound: str) -> dict[str, Any]:
    return {"name": name, "passed": False, "value": value, "bound": bound}


@tfx.dsl.components.component
def ServingCheck(
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    split: tfx.dsl.components.Parameter[str],
    settings: tfx.dsl.components.Parameter[str],
    blessing: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.InfraBlessing],
) -> None:
    """Blesses a model that serves requests correctly.

    Args:
        model: the exported model and the trained model's reference predictions.
        examples: raw examples, some of which are sent as requests.
        split: the split of these examples.
        settings: JSON object with `labels`, `image_size` and the fields of `ServingConfig`.
        blessing: receives `verdict.json` (docs/gate.md), the file and properties that
            InfraValidator writes and the `model_digest` of the tested SavedModel.
    """
    options = json.loads(settings)
    uri = artifact_utils.get_split_uri([examples], split)
    files = tf.io.gfile.glob(f"{uri}/*")
    dataset = tf.data.TFRecordDataset(files, compression_type="GZIP")
    records = [r.numpy() for r in dataset.take(options["check_examples"])]
    with tempfile.TemporaryDirectory() as folder:
        # Copied, because the process has no credentials for Cloud Storage.
        local = os.path.join(folder, "model")
        exported = path_utils.serving_model_path(model.uri)
        # Computed on the original, as in the Pusher, which compares the digests.
        digest = saved_model.model_digest(exported)
        io_utils.copy_dir(exported, local)
        reference = os.path.join(folder, golden_predictions.FILE)
        if tf.io.gfile.exists(f"{model.uri}/{golden_predictions.FILE}"):
            io_utils.copy_file(f"{model.uri}/{golden_predictions.FILE}", reference)
        checks = probe(local, records, options, reference)
    blessed = bool(checks) and all(check["passed"] for check in checks)
    verdict = {"format_version": FORMAT_VERSION, "passed": blessed, "checks": checks}
    io_utils.write_string_file(f"{blessing.uri}/{VERDICT_FILE}", json.dumps(verdict, indent=1))
    io_utils.write_string_file(f"{blessing.uri}/{_BLESSED if blessed else _NOT_BLESSED}", "")
    blessing.set_string_custom_property("blessing", _BLESSED if blessed else _NOT_BLESSED)
    blessing.set_int_custom_property("blessed", int(blessed))
    blessing.set_string_custom_property(saved_model.DIGEST, digest)


def _refusals(root: str) -> int:
    """Returns the number of refused models, which keeps a refusal out of TFX's cache.

    Time and memory depend on the state of the machine, so the next run must test the model again.
    """
    return len(list(Path(root).glob(f"pipeline/ServingCheck/blessing/*/{_NOT_BLESSED}")))
