"""Gate 2: the exported model must serve, in a fresh process that has TensorFlow and nothing else.

It takes the place of TFX's InfraValidator where no Docker is at hand, and emits the same artifact.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import tensorflow as tf
from tfx import v1 as tfx
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from models import golden_predictions
from pipeline.artifacts import saved_model
from pipeline.artifacts.digests import file_digest, settings_digest
from pipeline.artifacts.label_file import FILE, read_labels
from pipeline.artifacts.names import VERDICT_FILE
from pipeline.components.tfserving import infra_validator

FORMAT_VERSION = 1
_PROBE = Path(__file__).with_name("serving_probe.py")
_BLESSED, _NOT_BLESSED = "INFRA_BLESSED", "INFRA_NOT_BLESSED"
# What a model server gets: no project on the path, no keys of anyone.
_KEPT_VARIABLES = ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR")
_SET_VARIABLES = {
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "CUDA_VISIBLE_DEVICES": "-1",
    # TensorFlow imports a Keras, whichever: tf_keras takes 0.7 s less than Keras 3.
    "TF_USE_LEGACY_KERAS": "1",
}


def create(model, examples, config):
    """The gate of a pipeline: this component, or by config TFX's InfraValidator.

    Args:
        model: channel of the exported model.
        examples: channel of the raw examples.
        config: with `records` filled in.
    """
    if config.serving.validator == "tfserving":
        return infra_validator(model, examples, config)
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


def probe(model: str, records: list[bytes], settings: dict, trained: str = "") -> list[dict]:
    """Asks the SavedModel in a process of its own.

    Args:
        model: local folder of the SavedModel.
        records: serialised raw examples, at least one.
        settings: `labels`, `image_size` and the fields of `ServingConfig`.
        trained: local path of the trained model's answers, see `models.golden_predictions`.

    Returns:
        One {"name", "passed", "value", "bound"} a check; a process that died or hung is a failed
        one.
    """
    with tempfile.TemporaryDirectory() as folder:
        names = ("records", "settings.json", "result.json")
        records_path, settings_path, result_path = (os.path.join(folder, name) for name in names)
        with tf.io.TFRecordWriter(records_path) as writer:
            for record in records:
                writer.write(record)
        Path(settings_path).write_text(json.dumps(settings))
        arguments = [model, records_path, trained, settings_path, result_path]
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
            said = process.stderr[-2000:] or f"exit status {process.returncode}"
            return [_failed("process stays alive", said, "exit status 0")]
        checks = json.loads(Path(result_path).read_text())["checks"]
        return [_check_labels(model, settings), *checks]


def _check_labels(model: str, settings: dict) -> dict:
    """Whether the label names that lie in the model are those of the examples, in their order."""
    labels = read_labels(Path(model))
    passed = labels == list(settings["labels"])
    name = f"carries the label names in {FILE}"
    return {"name": name, "passed": passed, "value": labels, "bound": settings["labels"]}


def _failed(name: str, value: str, bound: str) -> dict:
    return {"name": name, "passed": False, "value": value, "bound": bound}


@tfx.dsl.components.component
def ServingCheck(
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    examples: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Examples],
    split: tfx.dsl.components.Parameter[str],
    settings: tfx.dsl.components.Parameter[str],
    blessing: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.InfraBlessing],
):
    """Blesses a model that serves.

    Args:
        model: the exported model, and beside it the trained model's answers.
        examples: raw examples; a few of them are sent as requests.
        split: the split they are taken from.
        settings: JSON object with `labels`, `image_size` and the fields of `ServingConfig`.
        blessing: receives `verdict.json` (docs/gate.md) and the file and properties that
            InfraValidator gives it, and `model_digest` of the SavedModel that was asked.
    """
    options = json.loads(settings)
    uri = artifact_utils.get_split_uri([examples], split)
    files = tf.io.gfile.glob(f"{uri}/*")
    dataset = tf.data.TFRecordDataset(files, compression_type="GZIP")
    records = [r.numpy() for r in dataset.take(options["check_examples"])]
    with tempfile.TemporaryDirectory() as folder:
        # A copy, for the process has no keys to read it from Cloud Storage.
        local = os.path.join(folder, "model")
        exported = path_utils.serving_model_path(model.uri)
        # By the store's own digests, as the Pusher asks for them.
        digest = saved_model.model_digest(exported)
        io_utils.copy_dir(exported, local)
        trained = os.path.join(folder, golden_predictions.FILE)
        if tf.io.gfile.exists(f"{model.uri}/{golden_predictions.FILE}"):
            io_utils.copy_file(f"{model.uri}/{golden_predictions.FILE}", trained)
        checks = probe(local, records, options, trained)
    blessed = bool(checks) and all(check["passed"] for check in checks)
    verdict = {"format_version": FORMAT_VERSION, "passed": blessed, "checks": checks}
    io_utils.write_string_file(f"{blessing.uri}/{VERDICT_FILE}", json.dumps(verdict, indent=1))
    io_utils.write_string_file(f"{blessing.uri}/{_BLESSED if blessed else _NOT_BLESSED}", "")
    blessing.set_string_custom_property("blessing", _BLESSED if blessed else _NOT_BLESSED)
    blessing.set_int_custom_property("blessed", int(blessed))
    blessing.set_string_custom_property(saved_model.DIGEST, digest)


def _refusals(root: str) -> int:
    """How many models were refused here: one more, and the next run asks again.

    Time and memory are the machine's of that moment; a refusal must not stay in the cache.
    """
    return len(list(Path(root).glob(f"pipeline/ServingCheck/blessing/*/{_NOT_BLESSED}")))
