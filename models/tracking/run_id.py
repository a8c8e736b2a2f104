"""The id of a training's W&B run, shared by the training and the lineage mirror."""

from __future__ import annotations

import hashlib

_LENGTH = 16


def training_run_id(store: str, model_run_uri: str) -> str:
    """Returns the id of the W&B run of a Trainer execution.

    ML Metadata holds both arguments: `custom_config["store"]` of the Trainer's execution, and the
    URI of its `model_run` artifact. The id is the same after a restart of the same execution, and
    differs between executions.

    Args:
        store: identity of the metadata store, in which the URI is unique; may be empty.
        model_run_uri: URI of the `model_run` artifact, with or without a trailing slash.

    Returns:
        The first 16 hexadecimal digits of the SHA-256 of `<store>\\n<model_run_uri>` in UTF-8, with
        the trailing slashes of the URI removed.

    Example:

    ```python
    from models.tracking.run_id import training_run_id

    run_id = training_run_id("", "gs://bucket/runs/Trainer/model_run/7")
    ```
    """
    text = f"{store}\n{model_run_uri.rstrip('/')}"
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]
