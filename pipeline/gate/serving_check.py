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

VERDICT_FILE = "verdict.json"
PROBE = Path(__file__).with_name("serving_probe.py")
# What a model server gets: no project on the path, no keys of anyone.
_KEPT_VARIABLES = ("PATH", "HOME", "LD_LIBRARY_PATH", "TMPDIR")


def probe(model_path: str, records: list[bytes], settings: dict, timeout_s: float) -> list[dict]:
    """Asks the SavedModel at `model_path` in a process of its own.

    Args:
      model_path: folder of the SavedModel.
      records: serialised raw examples, at least one.
      settings: `labels`, `image_size`, `max_probability_difference`.
      timeout_s: seconds after which a process that has not answered is killed.

    Returns:
      One {"name", "passed", "value", "bound"} a check; a process that died or hung is a failed one.
    """
    with tempfile.TemporaryDirectory() as folder:
        records_path, settings_path, result_path = (
            os.path.join(folder, name) for name in ("records", "settings.json", "result.json")
        )
        with tf.io.TFRecordWriter(records_path) as writer:
            for record in records:
                writer.write(record)
        Path(settings_path).write_text(json.dumps(settings))
        command = [sys.executable, "-I", str(PROBE), model_path]
        environment = {k: os.environ[k] for k in _KEPT_VARIABLES if k in os.environ}
        try:
            process = subprocess.run(
                [*command, records_path, settings_path, result_path],
                env=environment | {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "-1"},
                timeout=timeout_s,
                capture_output=True,
                text=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return [_failed("answers in time", "no answer", f"{timeout_s:g} s")]
        if process.returncode:
            return [_failed("process stays alive", process.stderr[-2000:], "exit status 0")]
        return json.loads(Path(result_path).read_text())["checks"]


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
      model: the exported model.
      examples: raw examples; a few of them are sent as requests.
      split: the split they are taken from.
      settings: JSON object with `labels`, `image_size`, `max_probability_difference`,
        `check_examples` and `timeout_s`.
      blessing: receives `verdict.json` and the property `blessed`, as InfraValidator has it.
    """
    options = json.loads(settings)
    uri = artifact_utils.get_split_uri([examples], split)
    files = tf.io.gfile.glob(f"{uri}/*")
    dataset = tf.data.TFRecordDataset(files, compression_type="GZIP")
    records = [r.numpy() for r in dataset.take(options["check_examples"])]
    model_path = path_utils.serving_model_path(model.uri)
    checks = probe(model_path, records, options, options["timeout_s"])
    blessed = bool(checks) and all(check["passed"] for check in checks)
    verdict = {"passed": blessed, "checks": checks}
    io_utils.write_string_file(f"{blessing.uri}/{VERDICT_FILE}", json.dumps(verdict, indent=1))
    io_utils.write_string_file(
        f"{blessing.uri}/{'INFRA_BLESSED' if blessed else 'INFRA_NOT_BLESSED'}", ""
    )
    blessing.set_int_custom_property("blessed", int(blessed))
