"""The Trainer started by the command that TFX's Vertex Trainer sends to every replica."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from tests.models import cluster_of
from tests.models.test_distributed import arguments, card, history

pytestmark = pytest.mark.slow


def vertex_command(transformed, root: Path) -> list[str]:
    """What TFX's own client puts into the replicas' containers."""
    from tfx.components.trainer.executor import GenericExecutor
    from tfx.extensions.google_cloud_ai_platform.training_clients import VertexJobClient
    from tfx.proto import trainer_pb2
    from tfx.types import standard_artifacts
    from tfx.utils import name_utils, proto_utils

    def artifact(kind, uri: Path):
        made = kind()
        made.uri = str(uri)
        return made

    examples = artifact(standard_artifacts.Examples, root / "examples")
    examples.split_names = '["train", "eval"]'
    for split in ("train", "eval"):
        (root / "examples").mkdir(exist_ok=True)
        (root / "examples" / f"Split-{split}").symlink_to(transformed.root / split)
    inputs = {
        "examples": [examples],
        "transform_graph": [
            artifact(standard_artifacts.TransformGraph, transformed.root / "transform")
        ],
    }
    outputs = {
        "model": [artifact(standard_artifacts.Model, root / "model")],
        "model_run": [artifact(standard_artifacts.ModelRun, root / "model_run")],
    }
    settings = arguments(transformed, root)["custom_config"] | {"project": "of-vertex"}
    properties = {
        "run_fn": "models.trainer.run_fn",
        "train_args": proto_utils.proto_to_json(trainer_pb2.TrainArgs(splits=["train"])),
        "eval_args": proto_utils.proto_to_json(trainer_pb2.EvalArgs(splits=["eval"])),
        "custom_config": json.dumps(settings),
    }
    client = VertexJobClient.__new__(VertexJobClient)  # Its constructor asks for credentials.
    command = client.generate_container_command(
        inputs, outputs, properties, name_utils.get_full_name(GenericExecutor)
    )
    assert command[:3] == ["python", "-m", "tfx.scripts.run_executor"]
    return [sys.executable, *command[1:]]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_replica_trains_by_the_command_of_vertex(transformed, tmp_path, workers):
    command = vertex_command(transformed, tmp_path)
    environment = {"TF_USE_LEGACY_KERAS": None, "PYTHONPROFILEIMPORTTIME": "1"}
    folder = tmp_path / "logs"
    members = cluster_of.members(workers, chief=True) if workers > 1 else {}
    processes = cluster_of.start_all(members, {}, folder, command, environment)
    assert cluster_of.wait(processes, 400) == [0] * workers, cluster_of.logs(folder)
    for log in folder.glob("*.log"):
        imports = re.findall(r"^import time:.*\|\s+(\S+)$", log.read_text(), re.MULTILINE)
        keras_3 = next(i for i, name in enumerate(imports) if name.startswith("keras.src"))
        assert keras_3 < imports.index("models.distributed.cluster"), "Keras 3 did not come first"
    assert [row["epoch"] for row in history(tmp_path)] == [1, 2]
    settings = card(tmp_path)["provenance"]["settings"]["trainer"]
    assert settings["workers"] == workers
    assert (tmp_path / "model" / "Format-Serving" / "saved_model.pb").is_file()
    assert not list(tmp_path.glob("checkpoints-*"))
