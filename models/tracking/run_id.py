"""The id of a training's W&B run, computed alike by the training and by who mirrors its lineage."""

from __future__ import annotations

import hashlib

_LENGTH = 16


def training_run_id(store: str, model_run_uri: str) -> str:
    """The id of the W&B run that a Trainer's execution logs to.

    Both arguments are in ML Metadata: `custom_config["store"]` of the Trainer's execution, and the
    URI of its `model_run` artifact. A process that was killed and is started again for the same
    execution finds the same id; another execution has another one.

    Args:
        store: identity of the metadata store, for URIs that are unique only within it; "" for none.
        model_run_uri: URI of the `model_run` artifact, with or without a slash at its end.

    Returns:
        The first 16 hexadecimal digits of the sha256 of `<store>\\n<model_run_uri>` in UTF-8, the
        URI without slashes at its end.
    """
    text = f"{store}\n{model_run_uri.rstrip('/')}"
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]
