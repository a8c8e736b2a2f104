"""Gate 2 by TFX's InfraValidator: TensorFlow Serving itself, in a Docker container."""

from pipeline.config.files import ConfigError
from pipeline.config.schema import Config


def preflight(config: Config) -> None:
    """Refuses a config whose serving gate cannot run on this machine.

    Raises:
        ConfigError: TensorFlow Serving is asked for, and Docker does not answer, or it is to run on
            Vertex AI, where containers start no containers.
    """
    if config.serving.validator != "tfserving":
        return
    instead = "set serving.validator=process, which needs neither"
    if config.cloud is not None:
        raise ConfigError(
            "serving.validator: TFX's InfraValidator does not run on Vertex AI; " + instead
        )
    import docker

    try:
        docker.from_env().ping()
    except docker.errors.DockerException as error:
        raise ConfigError(
            "serving.validator=tfserving needs a running Docker and the image "
            f"{config.serving.image}: Docker does not answer ({error}). Start it, or {instead}"
        ) from None


def infra_validator(model, examples, config: Config):
    """TFX's InfraValidator with `config.serving`; its output `blessing` is the usual one.

    Args:
        model: channel of the exported model.
        examples: channel of the raw examples.
        config: with `records` filled in.
    """
    from tfx import v1 as tfx

    from pipeline.components.evaluator import RecordingInfraValidator

    serving = config.serving
    name, _, tag = serving.image.rpartition(":")
    if not name or "/" in tag:  # a colon may also belong to the registry's port
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
