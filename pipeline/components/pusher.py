"""TFX's Pusher for any target, which requires both blessings."""

import logging
from typing import Any

from tfx import types
from tfx import v1 as tfx
from tfx.components.pusher import executor as tfx_pusher
from tfx.dsl.components.base import executor_spec
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import json_utils

from pipeline.artifacts.saved_model import DIGEST
from pipeline.config.push import PushConfig
from pipeline.push.target import PushError
from pipeline.push.targets import make_target
from pipeline.push.upload import model_digest

_BLESSINGS = (
    standard_component_specs.MODEL_BLESSING_KEY,
    standard_component_specs.INFRA_BLESSING_KEY,
)


class BlessedPushExecutor(tfx_pusher.Executor):
    """Pushes a model that both gates blessed; records its version and destination."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model and marks the PushedModel as pushed or not.

        Raises:
            PushError: the push failed, or the model changed since the gates evaluated it.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed_model = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed_model)
            return
        settings = json_utils.loads(exec_properties["custom_config"])
        target = make_target(PushConfig.model_validate(settings["options"]), settings["folder"])
        model = self.GetModelPath(input_dict)
        _check_unchanged(model, input_dict)
        pushed = target.push(model)
        self._MarkPushed(pushed_model, pushed.destination, pushed.version)

    def CheckBlessing(self, input_dict: dict[str, list[types.Artifact]]) -> bool:
        """Returns whether both blessings exist and bless the model.

        TFX's own check passes a model whose blessing is missing.
        """
        missing = [key for key in _BLESSINGS if not input_dict.get(key)]
        if missing:
            logging.getLogger(__name__).warning("not pushed: no %s", " and no ".join(missing))
        return not missing and super().CheckBlessing(input_dict)


def _check_unchanged(model: str, input_dict: dict[str, list[types.Artifact]]) -> None:
    """Raises PushError unless both gates evaluated exactly the files of `model`.

    A blessing refers to a model by its id, and TFX's cache does not check the files in its folder.
    """
    digest = model_digest(model)
    for key in _BLESSINGS:
        blessing = artifact_utils.get_single_instance(input_dict[key])
        blessed = blessing.get_string_custom_property(DIGEST)
        if blessed != digest:
            raise PushError(
                f"the SavedModel in {model} is not the one that the gates evaluated: its digest is "
                f"{digest[:12]}, that of {blessing.type_name} is {blessed[:12] or 'missing'}. "
                "Nothing was pushed. Run the same command again to train the model anew"
            )


class BlessedPusher(tfx.components.Pusher):
    """TFX's Pusher with `BlessedPushExecutor`.

    Pushing a model that the target already serves is a no-op, so the push always runs.

    Args:
        model: channel of the exported model.
        model_blessing: channel of QualityGate's blessing.
        infra_blessing: channel of the serving gate's blessing.
        options: settings of the push.
        folder: folder of versions, for the target `folder`.
        cache_nonce: from `Target.preflight`; differs in every run and defeats TFX's cache.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(BlessedPushExecutor)

    def __init__(
        self,
        model: tfx.dsl.Channel,
        model_blessing: tfx.dsl.Channel,
        infra_blessing: tfx.dsl.Channel,
        options: PushConfig,
        folder: str,
        cache_nonce: str,
    ):
        super().__init__(
            model=model,
            model_blessing=model_blessing,
            infra_blessing=infra_blessing,
            custom_config={
                "options": options.model_dump(mode="json"),
                "folder": folder,
                "cache_nonce": cache_nonce,
            },
        )
