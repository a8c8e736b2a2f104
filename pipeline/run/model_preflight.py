"""Checks `model.arguments`, the pretrained weights and what the gate asks of them before a run."""

import inspect

from models import registry
from models.architectures import pretrained
from pipeline.config.files import ConfigError
from pipeline.config.gate import CROSS_VALIDATED
from pipeline.config.schema import Config

_GIVEN = ("image_size", "num_classes")


def preflight(config: Config, away: bool = False) -> None:
    """Refuses arguments that the architecture does not take, and weights that are missing.

    Weights that are to be downloaded are downloaded here.

    Args:
        config: the run's config.
        away: whether other machines than this one train.

    Raises:
        ConfigError: the message names the argument, or the file and where it belongs, or the bound.
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
        raise ConfigError(f"gate.bounds: {CROSS_VALIDATED} would not be measured, as {reason}")
    if away and weights and weights.source == pretrained.OWN_FILE and "://" not in weights.path:
        raise ConfigError(
            f"model.arguments.weights: {weights.path} is on this machine and the training is not: "
            "copy it to the bucket and give its path on gs://"
        )


def _check_names(name: str, arguments: dict) -> None:
    parameters = inspect.signature(registry.find(name).build).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    taken = [parameter.name for parameter in parameters if parameter.name not in _GIVEN]
    for argument in arguments:
        if argument not in taken:
            offer = f"it takes {', '.join(taken)}" if taken else "it takes none"
            raise ConfigError(f"model.arguments: {name} does not take '{argument}'; {offer}")
    missing = [
        parameter.name
        for parameter in parameters
        if parameter.name in taken
        and parameter.default is parameter.empty
        and parameter.kind is not parameter.VAR_POSITIONAL
        and parameter.name not in arguments
    ]
    if missing:
        raise ConfigError(f"model.arguments: {name} needs {', '.join(missing)}")
