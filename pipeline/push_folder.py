"""Pushes blessed models into a folder of versions, the layout that TensorFlow Serving watches.

serving/1/  serving/2/  …      one SavedModel each; the highest number is the one served
"""

import os
import shutil
from pathlib import Path

from tfx import v1 as tfx
from tfx.components.pusher import executor as tfx_pusher
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import json_utils, proto_utils

from pipeline.digests import folder_digest

_INCOMING = ".incoming-"


def versions(folder: Path) -> list[int]:
    """Version numbers in the serving folder, ascending; none if it does not exist."""
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit() and p.is_dir())


def push(model: Path, folder: Path, keep_last: int) -> int:
    """Makes `model` the newest version in `folder` and returns its number.

    The version appears whole or not at all. A model that already is the newest version is not
    copied again. Of older versions the last `keep_last`, this one included, are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{_INCOMING}*"):
        shutil.rmtree(leftover)
    present = versions(folder)
    if present and folder_digest(folder / str(present[-1])) == folder_digest(model):
        return present[-1]
    version = present[-1] + 1 if present else 1
    incoming = folder / f"{_INCOMING}{version}"
    shutil.copytree(model, incoming)
    os.rename(incoming, folder / str(version))
    for old in [*present, version][:-keep_last]:
        shutil.rmtree(folder / str(old))
    return version


class FolderPushExecutor(tfx_pusher.Executor):
    """Pushes a model that both gates blessed."""

    def Do(self, input_dict, output_dict, exec_properties):
        """Copies the model into the serving folder and records version and destination."""
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination
        )
        settings = json_utils.loads(exec_properties["custom_config"])
        folder = Path(destination.filesystem.base_directory)
        version = push(Path(self.GetModelPath(input_dict)), folder, settings["keep_last"])
        self._MarkPushed(
            pushed, pushed_destination=str(folder / str(version)), pushed_version=str(version)
        )


class FolderPusher(tfx.components.Pusher):
    """TFX's Pusher with the executor above."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(FolderPushExecutor)

    def __init__(self, model, model_blessing, infra_blessing, folder: str, keep_last: int):
        """Pushes into `folder`.

        What the folder holds now is part of the settings, so that a push is not taken from the
        cache after somebody removed or rolled back a version.
        """
        super().__init__(
            model=model,
            model_blessing=model_blessing,
            infra_blessing=infra_blessing,
            push_destination=tfx.proto.PushDestination(
                filesystem=tfx.proto.PushDestination.Filesystem(base_directory=folder)
            ),
            custom_config={"keep_last": keep_last, "present": versions(Path(folder))},
        )
