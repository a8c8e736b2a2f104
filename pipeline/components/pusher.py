"""TFX's Pusher for any target, which acts with both blessings only."""

import logging

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
    """Pushes a model that both gates blessed, and records its version and destination."""

    def Do(self, input_dict, output_dict, exec_properties):
        """Marks the PushedModel as pushed or not; raises PushError where a push fails."""
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

    def CheckBlessing(self, input_dict) -> bool:
        """TFX lets a model pass where a blessing is missing altogether; here both are needed."""
        missing = [key for key in _BLESSINGS if not input_dict.get(key)]
        if missing:
            logging.getLogger(__name__).warning("not pushed: no %s", " and no ".join(missing))
        return not missing and super().CheckBlessing(input_dict)


def _check_unchanged(model: str, input_dict) -> None:
    """Raises PushError unless both gates judged the very files that are to be pushed.

    A blessing names a model by its id, and TFX's cache knows nothing of what is in its folder.
    """
    digest = model_digest(model)
    for key in _BLESSINGS:
        blessing = artifact_utils.get_single_instance(input_dict[key])
        judged = blessing.get_string_custom_property(DIGEST)
        if judged != digest:
            raise PushError(
                f"the SavedModel in {model} is not the one that the gates judged: its files have "
                f"digest {digest[:12]}, {blessing.type_name} is for {judged[:12] or 'none'}. "
                "Nothing was pushed; the same command trains a model anew that changed"
            )


class BlessedPusher(tfx.components.Pusher):
    """TFX's Pusher with the executor above."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(BlessedPushExecutor)

    def __init__(
        self,
        model,
        model_blessing,
        infra_blessing,
        options: PushConfig,
        folder: str,
        cache_nonce: str,
    ):
        """Pushes to the target of `options`.

        Pushing a model that the target already serves is a no-op, so the push always runs:
        `cache_nonce`, from `Target.preflight`, differs in every run and defeats TFX's cache.
        """
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
