"""Google's client for Vertex AI: logged in, and pointed at the project."""

from pipeline.config.cloud import CloudConfig

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def connect(cloud: CloudConfig) -> None:
    """Sets what `google.cloud.aiplatform` talks to.

    Raises:
        google.auth.exceptions.GoogleAuthError: there are no credentials, or they are refused.
    """
    from google.cloud import aiplatform

    aiplatform.init(
        project=cloud.project,
        location=cloud.region,
        credentials=login(),
        api_endpoint=cloud.endpoint,
        api_transport=transport(cloud),
    )


def login():
    """This machine's credentials, with a new token.

    Without one the client asks for it on its way, and over gRPC a refusal then looks like a service
    that does not answer, after minutes.

    Raises:
        google.auth.exceptions.GoogleAuthError: there are no credentials, or they are refused.
    """
    import google.auth
    from google.auth.transport.requests import Request

    credentials, _ = google.auth.default(scopes=[_SCOPE])
    credentials.refresh(Request())
    return credentials


def endpoint(cloud: CloudConfig) -> str:
    """Address of the API."""
    return cloud.endpoint or f"{cloud.region}-aiplatform.googleapis.com"


def transport(cloud: CloudConfig) -> str | None:
    """`rest`, or None for gRPC."""
    return "rest" if endpoint(cloud).startswith("http") else None
