"""Checks the model before a run: arguments, pretrained weights and the bounds that need them."""

import inspect
from typing import Any

from models import registry
from models.architectures import pretrained
from pipeline.config.files import ConfigError
from pipeline.config.gate import CROSS_VALIDATED
from pipeline.config.schema import Config

_SET_BY_TRAINER = ("image_size", "num_classes")


def preflight(config: Config, remote_training: bool = False) -> None:
    """Checks that the architecture takes the arguments and that the weights exist.

    Downloads the weights if needed.

    Args:
        config: the config of the run.
        remote_training: whether the model is trained on other machines.

    Raises:
        ConfigError: an argument, the weights or a bound is invalid; the message names it.
    """
    name, arguments = config.model.name, config.model.arguments
    _check_names(name, arguments)
    try:
        weights = registry.find_weights(name, arguments)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    bounded = any(bound.metric == CROSS_VALIDATED for bound in config.gate.bounds)
    if bounded and (weights is None or config.gate.cross_validate is False):
        reason = "gate.cross_validate is false" if weights else f"{name} has no pretrained network"
        raise ConfigError(f"gate.bounds: {CROSS_VALIDATED} cannot be measured: {reason}")
    if (
        remote_training
        and weights
        and weights.source == pretrained.OWN_FILE
        and "://" not in weights.path
    ):
        raise ConfigError(
            f"model.arguments.weights: {weights.path} is a local file and the training is remote: "
            "copy it to the bucket and set its gs:// URI"
        )


def _check_names(name: str, arguments: dict[str, Any]) -> None:
    parameters = inspect.signature(registry.find(name).build).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    accepted = [parameter.name for parameter in parameters if parameter.name not in _SET_BY_TRAINER]
    for argument in arguments:
        if argument not in accepted:
            offer = f"it takes {', '.join(accepted)}" if accepted else "it takes none"
            raise ConfigError(f"model.arguments: {name} does not take '{argument}'; {offer}")
    missing = [
        parameter.name
        for parameter in parameters
        if parameter.name in accepted
        and parameter.default is parameter.empty
        and parameter.kind is not parameter.VAR_POSITIONAL
        and parameter.name not in arguments
    ]
    if missing:
        raise ConfigError(f"model.arguments: {name} needs {', '.join(missing)}")
