"""Gate 2 with TFX's InfraValidator, which runs TensorFlow Serving in a Docker container."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.config.files import ConfigError

if TYPE_CHECKING:
    from tfx import v1 as tfx
    from tfx.dsl.components.base.base_component import BaseComponent

    from pipeline.config.schema import Config, RunConfig


def preflight(config: Config) -> None:
    """Checks that the serving gate can run.

    Raises:
        ConfigError: `serving.validator` is `tfserving`, and Docker does not answer or the pipeline
            runs on Vertex AI, where a container cannot start another one.
    """
    if config.serving.validator != "tfserving":
        return
    instead = "set serving.validator=process, which needs no Docker"
    if config.cloud is not None:
        raise ConfigError(
            "serving.validator=tfserving: TFX's InfraValidator does not run on Vertex AI; "
            + instead
        )
    from docker.client import DockerClient
    from docker.errors import DockerException

    try:
        DockerClient.from_env().ping()
    except DockerException as error:
        raise ConfigError(
            "serving.validator=tfserving needs a running Docker and the image "
            f"{config.serving.image}: Docker does not answer ({error}). Start it, or {instead}"
        ) from None


def create(model: tfx.dsl.Channel, examples: tfx.dsl.Channel, config: RunConfig) -> BaseComponent:
    """Creates TFX's InfraValidator with the settings of `config.serving`.

    Args:
        model: channel of the exported model.
        examples: channel of the raw examples.
        config: all settings.
    """
    from tfx import v1 as tfx

    from pipeline.components.evaluator import RecordingInfraValidator

    serving = config.serving
    name, _, tag = serving.image.rpartition(":")
    if not name or "/" in tag:  # the colon belongs to the port of the registry
        name, tag = serving.image, "latest"
    return RecordingInfraValidator(
        model=model,
        examples=examples,
        serving_spec=tfx.proto.ServingSpec(
            tensorflow_serving=tfx.proto.TensorFlowServing(image_name=name, tags=[tag]),
            local_docker=tfx.proto.LocalDockerConfig(),
        ),
        validation_spec=tfx.proto.ValidationSpec(max_loading_time_seconds=round(serving.timeout_s)),
        request_spec=tfx.proto.RequestSpec(
            tensorflow_serving=tfx.proto.TensorFlowServingRequestSpec(
                signature_names=["serving_default"]
            ),
            split_name=config.records.held_out,
            num_examples=serving.check_examples,
        ),
    ).with_id("InfraValidator")
