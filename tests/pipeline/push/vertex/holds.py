"""State of the stand-in after a push."""

MODEL = "projects/my-project/locations/europe-west4/models/cats-dogs"


def shown(target) -> list[tuple[str, str, int]]:
    return [(row.name, row.state, row.share) for row in target.status().versions]


def deployed(service, endpoint: str = "cats-dogs") -> list[str]:
    """The deployed versions."""
    return [d.model_version_id for d in service.endpoints[endpoint].deployed_models]


def sent(service, ending: str) -> list:
    return [r for r in service.requests if r.method == "POST" and r.path.endswith(ending)]
